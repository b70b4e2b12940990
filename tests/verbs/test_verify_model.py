"""``wb.verify``: plan, preflight and first updates of a model, as one table to share."""

import re
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

import workbench as wb
from workbench import child, cli
from workbench.data.plain_prompts import PLAIN_PROMPTS as PROMPTS
from workbench.errors import ConfigError, DataError, ModelError, RunError
from workbench.json_lines import clean
from workbench.runs import Run, RunFolder, devices
from workbench.runs import run as run_module
from workbench.settings import PPOSettings
from workbench.training.checks import preflight as checks
from workbench.verbs import plan_memory, run_preflight, verify_model, verify_table

from ..models.tiny import make_model
from ..training.conftest import make_adapter

FEW = {"steps": 2, "batch_size": 8, "mini_batches": 2, "response_length": 8, "max_length": 64}
FEW |= {"quantization": "none", "device": "cpu", "lora_rank": 4, "micro_batch_tokens": 256}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("secret folder") / "tiny")


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    """Jobs and runs in this process; locks and runs of this test alone."""
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("WORKBENCH_LOCKS", str(tmp_path / "locks"))

    def job(kind, request, **_):
        return clean(child.do_job(kind, clean(request), lambda *_: None))

    def start(run, device=None):
        child.main([str(run.path)])
        devices.release_device("cpu")
        return run

    monkeypatch.setattr(plan_memory, "run_job", job)
    monkeypatch.setattr(run_preflight, "run_job", job)
    monkeypatch.setattr(Run, "start", start)
    monkeypatch.setattr(run_module, "LEAVING", 0.0)
    return monkeypatch


# --- what goes well ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found(model, tmp_path_factory):
    """One whole look, told by several tests."""
    with pytest.MonkeyPatch.context() as patch:
        here.__wrapped__(patch, tmp_path_factory.mktemp("places"))
        # the plan that it began with serves the preflight too
        patch.setattr(checks, "plan", lambda *_: pytest.fail("memory was planned twice"))
        yield wb.verify(model, **FEW)


def test_the_whole_way_without_reward_or_data(found):
    assert found.passed, found
    assert len(found.preflight.checks) == 9
    assert found.updates["step"].tolist() == [1, 2]
    assert found.updates["objective/kl"][0] == 0.0
    assert found.plan.facts["hardware"]["python"] in found.markdown
    assert set(found.seconds) == {"plan", "preflight", "updates"}
    assert not RunFolder(found.run["name"]).exists  # nothing is kept


def test_the_table_says_what_a_reader_asks(found):
    text = found.markdown
    assert text.startswith("## Verified: tiny\n\nall 9 checks hold; 2 of 2 updates, all finite, ")
    assert "first ratio 1.000000 where it is furthest from 1." in text
    for heading in ("### Memory planned, MB", "### Preflight", "### Updates", "### One prompt"):
        assert heading in text
    assert f"workbench {wb.__version__}, Python 3." in text and "bitsandbytes" in text
    assert "base in none, computing in float32" in text
    assert re.search(r"trained +\| [\d,]+ weights, learning rate 0\.00", text)
    assert "steps = 2, batch_size = 8" in text
    assert f"| {PROMPTS[0]}" in text
    assert text.count(verify_table.GREEN) == 9 and verify_table.RED not in text
    assert "what to do" not in text
    assert repr(found) == found._repr_markdown_() == text


def test_nothing_of_the_disk_is_told(found, model):
    assert str(model.parent) not in found.markdown and "secret" not in found.markdown


def test_every_table_has_as_many_cells_in_each_row(found):
    blocks = re.findall(r"(?:^\|.*\|\n)+", found.markdown, re.M)
    assert len(blocks) == 5
    for block in blocks:
        lines = [re.sub(r"\\\|", "", line) for line in block.splitlines()]
        assert len({line.count("|") for line in lines}) == 1
        assert set(lines[1]) == {"|", "-", " "}


def test_the_updates_are_the_first_of_a_longer_run(monkeypatch, model):
    """Twenty, at a constant rate, from a preset with other numbers."""
    asked, released = {}, []
    monkeypatch.setattr(verify_model.worker, "release", lambda: released.append(True))

    def plan(model, settings):
        asked.update(settings.to_dict())
        raise ModelError("far enough")

    monkeypatch.setattr(verify_model, "plan", plan)
    with pytest.raises(ModelError, match="far enough"):
        wb.verify(model, preset="t4-0.5b", device="cpu")
    assert released  # before the plan asks what is free
    assert (asked["steps"], asked["schedule"], asked["checkpoint_every"]) == (20, "constant", 0)
    assert (asked["batch_size"], asked["max_length"]) == (64, 640)  # the preset's
    with pytest.raises(ModelError, match="far enough"):
        wb.verify(model, prompts=["mine"], steps=3, schedule="linear", device="cpu")
    assert (asked["steps"], asked["schedule"], asked["watch_every"]) == (3, "linear", 0)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(20, [1, 5, 10, 15, 20]), (2, [1, 2]), (1, [1]), (50, [1, 12, 25, 38, 50]), (0, [])],
)
def test_which_updates_are_shown(count, expected):
    assert verify_table.shown(count) == expected


# --- what goes badly -----------------------------------------------------------------------------

ROW = dict.fromkeys((*verify_table.UPDATE_COLUMNS, *verify_table.MUST_BE_FINITE, "value/loss"), 1.0)
CHECK = {"name": "a", "passed": True, "found": "x | y", "fix": "mend it"}
TOLD = {"free": 4 * 10**9, "rows": 2, "length": 64, "device": "cuda", "dtype": "bfloat16"}
TOLD |= {"quantization": "nf4", "model": "m", "hardware": {"gpu": "some card"}}
PARTS = [{"phase": "score", "part": "base: linear layers", "bytes": 2 * 10**9}]


def made(rows=2, free=4, checks=(CHECK,), **changes):
    plan = plan_memory.MemoryPlan({**TOLD, "parts": PARTS, "free": free * 10**9}, PPOSettings())
    found = verify_table.Verified(
        verify_table.VerifiedInputs("m", "r", "p", "c"), plan, PPOSettings(steps=2), {"plan": 1.0}
    )
    found.preflight = run_preflight.Preflight(list(checks))
    found.rows = [{**ROW, "step": i + 1} for i in range(rows)]
    found.rows[-1].update({f"{k.replace('__', '/')}": v for k, v in changes.items()})
    return found


def test_green_where_all_holds_and_a_card_is_named():
    found = made()
    assert found.passed
    assert "| some card" in found.markdown and "### Memory planned, GB" in found.markdown
    assert "x \\| y" in found.markdown  # a bar ends no cell


@pytest.mark.parametrize("name", ["objective__scores", "policy__loss", "value__loss"])
def test_a_number_that_is_not_finite_is_red(name):
    found = made(**{name: None})
    assert not found.passed
    assert "NOT all there and finite" in found.verdict
    assert found.markdown.startswith("## Not verified: m")


def test_small_parts_of_a_plan_are_not_nothing():
    assert [verify_table._size(size) for size in (0, 0.004, 0.01, 2)] == [
        "",
        "< 0.01",
        "0.01",
        "2.00",
    ]


def test_a_first_ratio_that_is_not_1_is_red():
    assert made(policy__first_ratio=1.0009).passed
    found = made(policy__first_ratio=0.998)
    assert not found.passed and found.ratio == 0.998
    assert "first ratio 0.998000" in found.verdict


def test_too_few_updates_are_red():
    assert not made(rows=1).passed


def test_what_a_model_writes_has_no_effect_on_the_page():
    found = made()
    odd = "a <img src=x> | *b* `c` ![d](e)\n\n# f 1 < 2"
    found.samples = [{"step": 1, "score": 0.0, "prompt": "p", "response": odd}]
    assert r"| a \<img src=x> \| \*b\* \`c\` \!\[d\](e) \# f 1 < 2 |" in found.markdown
    found.samples[0]["response"] = "word " * 200
    assert len(found.markdown.splitlines()[-1]) < verify_table.LONG + 30


def test_a_red_check_says_what_to_do():
    found = made(checks=[CHECK, {**CHECK, "passed": False}])
    assert not found.passed and found.verdict.startswith("1 of 2 checks failed")
    assert found.markdown.count("mend it") == 1


def test_steps_that_were_skipped_are_told():
    found = made(skipped_steps=3.0)
    assert "| skipped steps |" in found.markdown
    for row in found.rows:
        row["skipped_steps"] = 0.0
    assert "skipped steps" not in found.markdown


def test_without_a_critic_there_is_no_value_to_be_finite():
    found = made(value__loss=None)
    found.settings = PPOSettings(steps=2, advantage="rloo", samples_per_prompt=2)
    assert found.passed


def test_what_does_not_fit_is_not_loaded(model, monkeypatch):
    plan = plan_memory.MemoryPlan({**TOLD, "parts": PARTS, "free": 10**9}, PPOSettings())
    monkeypatch.setattr(verify_model, "plan", lambda *_: plan)
    monkeypatch.setattr(verify_model, "preflight", lambda *_, **__: pytest.fail("it was loaded"))
    found = wb.verify(model, device="cpu")
    assert not found.passed and found.rows == []
    assert found.verdict == "nothing was loaded: 2.00 GB are planned and 1.00 GB are free"
    assert "2.00 GB at the peak, 1.00 GB free: it does not fit; take a smaller" in found.markdown


@contextmanager
def _quiet_plan(monkeypatch):
    plan = plan_memory.MemoryPlan({**TOLD, "parts": PARTS}, PPOSettings())
    monkeypatch.setattr(verify_model, "plan", lambda *_: plan)
    check = run_preflight.Preflight([CHECK])
    monkeypatch.setattr(verify_model, "preflight", lambda *_, **__: check)
    yield


def test_a_preflight_that_dies_is_a_finding(model, monkeypatch):
    def dies(*_, **__):
        raise RunError("the job preflight ended without a result", where="its log ends in: Killed")

    with _quiet_plan(monkeypatch):
        monkeypatch.setattr(verify_model, "preflight", dies)
        found = wb.verify(model, device="cpu")
    assert not found.passed and found.rows == []
    assert "the preflight ended early" in found.verdict and "Killed" in found.markdown


def test_updates_that_die_are_a_finding_with_what_came_before(model, monkeypatch):
    monkeypatch.setattr(child, "_trainer", _one_update_then_nothing)
    with _quiet_plan(monkeypatch):
        found = wb.verify(model, **FEW)
    assert not found.passed and len(found.rows) == 1
    assert "the updates ended early" in found.verdict
    assert "ZeroDivisionError" in found.markdown and "### Updates" in found.markdown


def _one_update_then_nothing(*_):
    from workbench.events import Progress

    yield Progress(1, 2, {name: value for name, value in ROW.items() if name != "step"})
    raise ZeroDivisionError


def test_an_interrupt_ends_the_run_too(model, monkeypatch):
    told = []

    class Live:
        status, config = "running", {}
        folder = SimpleNamespace(metrics=list, samples=list, events=list)

        def wait(self):
            raise KeyboardInterrupt

        def stop(self, wait):
            told.append("stopped")

    monkeypatch.setattr(verify_model, "train_ppo", lambda *_, **__: Live())
    with _quiet_plan(monkeypatch), pytest.raises(KeyboardInterrupt):
        wb.verify(model, device="cpu")
    assert told == ["stopped"]


# --- as many updates as fit ----------------------------------------------------------------------

TIMES = [(64, 120.0), (32, 60.0), (16, 30.0), (8, 15.0), (4, 8.0)]


@pytest.mark.parametrize(
    ("left", "keep", "expected"),
    [
        (10_000, False, (20, 64)),  # all that are asked for
        (900, False, (6, 64)),  # (900 - 10 - 5) × 0.85 = 752 s
        (400, False, (5, 32)),  # 327 s
        (150, False, (7, 8)),  # 115 s
        (40, False, (2, 4)),  # 21 s: of the smallest as many as fit
        (1, False, (1, 4)),  # one at least
        (400, True, (2, 64)),  # the number of answers was asked for
    ],
)
def test_the_updates_that_fit(left, keep, expected):
    found = made()
    found.preflight.load, found.preflight.updates = 10.0, TIMES
    found.settings = PPOSettings(steps=20, watch_every=20)
    verify_model._fit(found, left, keep=keep)
    assert (found.settings.steps, found.settings.batch_size) == expected
    assert found.settings.watch_every == found.settings.steps  # at first and at last
    seconds = expected[0] * dict(TIMES)[expected[1]]
    assert found.planned == seconds
    assert found.shown_plan.startswith(f"{expected[0]} update")


def test_a_preflight_that_measured_nothing_changes_nothing():
    found = made()
    verify_model._fit(found, 100.0, keep=False)
    assert (found.settings.steps, found.settings.batch_size) == (2, 64)
    assert found.shown_plan == "2 updates of 64 answers"


def test_when_the_time_is_over_the_run_is_stopped_and_the_table_says_so(model, monkeypatch):
    stopped = threading.Event()

    class Slow:
        config, folder = {}, SimpleNamespace(metrics=lambda: [ROW], samples=list, events=list)
        status = "stopped"

        def wait(self):
            assert stopped.wait(20.0)

        def stop(self):
            stopped.set()

    monkeypatch.setattr(verify_model, "train_ppo", lambda *_, **__: Slow())
    with _quiet_plan(monkeypatch):
        found = wb.verify(model, device="cpu", minutes=0.01, steps=9)
    assert found.out_of_time and len(found.rows) == 1
    assert "the time was over after 1 of 9 updates" in found.verdict
    assert found.passed  # what was done is right


def test_with_no_update_before_the_end_nothing_is_verified():
    found = made()
    found.rows, found.out_of_time = [], True
    assert not found.passed
    assert "the time was over after 0 of 2 updates" in found.verdict


def test_what_it_will_do_is_said_first(model, monkeypatch, capsys):
    monkeypatch.setattr(verify_model, "plan", lambda *_: pytest.fail("far enough"))
    with pytest.raises(pytest.fail.Exception):
        wb.verify(model, device="cpu", minutes=2.5)
    (line, *_) = capsys.readouterr().out.splitlines()
    assert line.startswith("about 2 min 30 s at most: ")
    assert "20 updates of 64 answers" in line


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf")])
def test_no_time_is_refused(model, minutes):
    with pytest.raises(ConfigError, match="no time to verify"):
        wb.verify(model, device="cpu", minutes=minutes)


# --- what cannot be used as given is refused before anything is planned --------------------------


@pytest.mark.parametrize(
    ("given", "kind", "what"),
    [
        ({"model": "no such folder/at/all"}, ModelError, "no such model"),
        ({"lora_rnk": 3}, ConfigError, "no setting called lora_rnk"),
        ({"preset": "t5"}, ConfigError, "no preset called t5"),
        ({"reward": "json:no_such"}, ConfigError, "cannot be imported"),
        ({"prompts": []}, DataError, "no rows"),
        ({"advantage": "rloo"}, ConfigError, "compares answers to one prompt"),
        ({"keep_best": True}, ConfigError, "goes by the watched score"),
    ],
)
def test_bad_input_is_refused_at_once(model, monkeypatch, given, kind, what):
    monkeypatch.setattr(verify_model, "plan", lambda *_: pytest.fail("it went on"))
    with pytest.raises(kind, match=what):
        wb.verify(given.pop("model", model), **{"device": "cpu", **given})


def test_a_reward_model_cannot_be_verified(model, tmp_path):
    reward = make_adapter(tmp_path / "reward", model, 11, reward=True)
    with pytest.raises(ModelError, match="scores answers and gives none"):
        wb.verify(reward, device="cpu")


def test_a_busy_device_is_named_at_once(model, tmp_path):
    other = RunFolder(tmp_path / "runs" / "other").create("ppo", {}, [])
    lock = devices.take_device("cpu", other)
    try:
        with pytest.raises(RunError, match="cpu is busy: the run other"):
            wb.verify(model, device="cpu")
    finally:
        devices.os.close(lock)


def test_several_processes_are_refused(model, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="one process"):
        wb.verify(model, device="cpu")


# --- names ---------------------------------------------------------------------------------------


def test_rewards_are_named_without_their_folders(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    name = verify_model._reward_name
    function = {"function": {"function": "a.b:c"}}
    assert name(str(folder)) == "mine"
    assert name("owner/model") == "owner/model"
    assert name({"ensemble": ["a", "b"]}) == "an ensemble of 2"
    assert name(function) == "the function a.b:c"
    mix = {"mix": [{"weight": 0.5, "source": function}, {"weight": 2.0, "source": str(folder)}]}
    assert name(mix) == "0.5 × the function a.b:c + 2 × mine"


# --- the command line ----------------------------------------------------------------------------


@pytest.mark.parametrize("passed", [True, False])
def test_the_command_line_prints_the_table_alone(monkeypatch, capsys, tmp_path, passed):
    given = {}

    def verify(model, **named):
        given.update(named, model=model)
        verify_model.tell("1 of 3: something")
        return made(policy__first_ratio=1.0 if passed else 1.1)

    monkeypatch.setattr(wb, "verify", verify)
    out = tmp_path / "v.md"
    line = (
        f"verify m --preset 24gb-7b --data p.txt --reward r --minutes 2.5 --out {out} --set steps=3"
    )
    assert cli.main(line.split()) == (0 if passed else 1)
    assert given == {
        "model": "m",
        "reward": "r",
        "prompts": "p.txt",
        "preset": "24gb-7b",
        "minutes": 2.5,
        "steps": 3,
    }
    said = capsys.readouterr()
    assert said.out.rstrip() == out.read_text(encoding="utf-8").rstrip()
    assert said.out.startswith("## ") and "1 of 3" not in said.out
    assert "1 of 3" in said.err


def test_a_table_without_a_place_is_refused_before_the_work(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(wb, "verify", lambda *_, **__: pytest.fail("it went on"))
    for out in (tmp_path, tmp_path / "none" / "v.md"):
        assert cli.main(["verify", "m", "--out", str(out)]) == 1
        assert "cannot be written there" in capsys.readouterr().err

"""The frontier's runs, on a tiny model without a process: done once, told first, found again."""

import json
from contextlib import suppress

import pytest

import workbench as wb
from workbench import child
from workbench.analysis.frontier import Measured, Tried
from workbench.cli import main
from workbench.errors import ConfigError, ModelError
from workbench.json_lines import clean
from workbench.runs import Run, devices
from workbench.runs import run as run_module
from workbench.verbs import draw_frontier, frontier_worth, optimisation_limits

from ..models.tiny import make_model
from ..training.conftest import make_adapter

FEW = {"quantization": "none", "device": "cpu", "lora_rank": 4, "max_length": 32}
ASKED = {**FEW, "response_length": 4, "batch_size": 8, "seeds": 2, "budget": 24}
PAIRS = [{"prompt": f"say {w}", "chosen": f"{w} good", "rejected": f"bad {w}"} for w in "abcdefghi"]
PROMPTS = [f"say {word}" for word in "abcdefghijklmnop"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return str(make_model(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="module")
def rewards(tiny, tmp_path_factory):
    made = [
        str(make_adapter(tmp_path_factory.mktemp("reward"), tiny, seed, reward=True))
        for seed in (11, 12)
    ]
    return {"reward": made[0], "heldout_reward": made[1]}


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    """Runs and jobs in this process; the names of the runs that were started."""
    started = []

    def start(run, device=None):
        started.append(run.name)
        child.main([str(run.path)])
        devices.release_device("cpu")
        return run

    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("WORKBENCH_LOCKS", str(tmp_path / "locks"))
    monkeypatch.delenv("WORKBENCH_QUICK", raising=False)
    monkeypatch.setattr(Run, "start", start)
    monkeypatch.setattr(run_module, "LEAVING", 0.0)
    for module in (frontier_worth, optimisation_limits):
        monkeypatch.setattr(
            module,
            "run_job",
            lambda kind, request, **_: clean(child.do_job(kind, clean(request), lambda *_: None)),
        )
    return started


def drawn(tiny, rewards, **changes):
    return wb.frontier(tiny, PAIRS, PROMPTS, **{**ASKED, **rewards, **changes})


def test_every_method_at_every_price_by_every_seed_once(tiny, rewards, here, tmp_path, capsys):
    asked = {"methods": ["rloo", "dpo", "best_of_n"], "prices": [0.1], "seeds": 1}
    found = drawn(tiny, rewards, **asked)
    told = capsys.readouterr().out
    assert here == ["probe-rloo", "probe-dpo", "rloo-0.1-0", "dpo-0.1-0"]
    assert found.frame["prompts"].tolist() == [24] * 2  # 3 updates of 8
    assert "frontier: about" in told and "rloo 1 ×" in told and "the same call goes on" in told
    config = json.loads((tmp_path / "runs/frontier/dpo-0.1-0/config.json").read_text())
    assert (config["settings"]["beta"], config["settings"]["seed"]) == (0.1, 0)
    assert (tmp_path / "runs/frontier/report.html").is_file()
    # the prompts measured on are not among those learned from
    kept = json.loads((tmp_path / "runs/frontier/frontier.json").read_text())
    aside = {prompt[0]["content"] for prompt in kept["by"]["prompts"]}
    learned = wb.open_run(tmp_path / "runs/frontier/rloo-0.1-0").folder.data_rows()
    assert len(aside) == 2 and not aside & {row["prompt"][0]["content"] for row in learned}
    assert found.frame["heldout"].notna().all() and (found.frame["kl"] >= 0).all()
    assert found.best_of_n["n"].tolist() == [1, 2, 4, 8, 16, 32]

    here.clear()
    assert drawn(tiny, rewards, **asked).frame.equals(found.frame)
    assert here == []
    more = drawn(tiny, rewards, **{**asked, "methods": ["dpo"], "prices": [0.1, 0.5], "seeds": 2})
    assert here == ["dpo-0.5-0", "dpo-0.1-1", "dpo-0.5-1"] and len(more.frame) == 4


def test_interrupted_it_goes_on(tiny, rewards, here, monkeypatch):
    real = draw_frontier._Drawing._followed

    def interrupted(self, run, words, seconds):
        if run.name == "dpo-0.1-0":
            raise KeyboardInterrupt
        return real(self, run, words, seconds)

    asked = {"methods": ["dpo"], "prices": [0.5, 0.1], "seeds": 1}
    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(draw_frontier._Drawing, "_followed", interrupted)
        drawn(tiny, rewards, **asked)
    assert here == ["probe-dpo", "dpo-0.5-0", "dpo-0.1-0"]  # the last goes on by itself
    assert len(drawn(tiny, rewards, **asked).frame) == 2
    assert len(here) == 3


def test_each_method_has_the_same_trials_of_its_rate(tiny, rewards, here):
    found = drawn(tiny, rewards, methods=["dpo"], prices=[0.1], rates=[0.5, 1.0], seeds=1)
    assert here == ["probe-dpo", "dpo-0.1-x0.5-0", "dpo-0.1-0"]
    rates = {name: wb.open_run(f"frontier/{name}").config["resolved"]["learning_rate"] for name in
             ("dpo-0.1-x0.5-0", "dpo-0.1-0")}  # fmt: skip
    assert rates["dpo-0.1-x0.5-0"] == pytest.approx(rates["dpo-0.1-0"] / 2)
    assert found.frame["rate"].nunique() == 1 and "2 rates" in found.limits


def test_a_trial_is_worth_its_watched_score_less_the_price_of_its_nats():
    """1.5 - 0.2 * 6 = 0.3, less than the 1.0 - 0.2 * 1 = 0.8 of the slower rate."""
    fast, slow = Measured(6.0, 9.0, 1.5, 0.1), Measured(1.0, 0.5, 1.0, 0.9)
    worth = [
        draw_frontier._worth(Tried("dpo", 0.2, 0, 1e-3, 1, 1.0, reached, [], "a"))
        for reached in (fast, slow)
    ]
    assert worth == pytest.approx([0.3, 0.8])


def test_equal_in_seconds_a_faster_method_takes_more_steps(tiny, rewards, monkeypatch):
    speeds = {"rloo": 2.0, "dpo": 0.5}
    monkeypatch.setattr(
        draw_frontier._Drawing,
        "_probed",
        lambda self, method, price: draw_frontier._Speed(speeds[method], 1.0, 1e-3),
    )
    asked = {"methods": ["rloo", "dpo"], "prices": [0.1], "seeds": 1}
    found = drawn(tiny, rewards, equal="seconds", budget=4, **asked)
    assert found.frame.set_index("method")["prompts"].to_dict() == {"rloo": 16, "dpo": 64}


def test_reward_models_are_trained_on_two_halves_where_none_are_given(tiny, here, tmp_path):
    found = drawn(tiny, {}, methods={"dpo": {"loss_type": "ipo"}}, prices=[0.1], seeds=1)
    assert here[:2] == ["reward", "watching"]
    folders = [tmp_path / "runs/frontier" / name for name in ("reward", "watching", "dpo-0.1-0")]
    asked = [
        {json.dumps(row["prompt"]) for row in wb.open_run(f).folder.data_rows()} for f in folders
    ]
    assert asked[0] and asked[1] and not asked[0] & asked[1] and asked[2] <= asked[0]
    assert wb.open_run(folders[2]).config["settings"]["loss_type"] == "ipo"
    assert "comparisons taught both the reward model and DPO" in found.limits


def test_in_a_hurry_two_methods_do(tiny, rewards, here, monkeypatch):
    monkeypatch.setenv("WORKBENCH_QUICK", "1")
    found = drawn(tiny, rewards, prices=[0.1, 0.5])
    assert here == ["ppo-0.1-0", "rloo-0.1-0"] and len(found.frame) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"methods": []}, "needs a method that learns"),
        ({"methods": ["best_of_n"]}, "needs a method that learns"),
        ({"seeds": 0}, "seeds=0"),
        ({"prices": []}, "a method that learns, a seed, a price"),
        ({"prices": [0.0]}, "budget above 0"),
        ({"rates": [-1.0]}, "budget above 0"),
        ({"budget": 0}, "budget=0"),
        ({"seed": 3}, "say it by seeds="),
        ({"steps": 3}, "say it by budget="),
        ({"beta": 0.1}, "say it by prices="),
        ({"methods": {"dpo": {"bteta": 1}}}, "no setting called bteta"),
        ({"methods": {"dpo": {}}, "advantage": "rloo"}, "no setting called advantage"),
    ],
)
def test_what_cannot_be_drawn_is_said_before_anything_starts(tiny, rewards, changes, said, here):
    with pytest.raises(ConfigError, match=said):
        drawn(tiny, rewards, **changes)
    assert here == []


def test_what_pays_must_score(tiny, rewards):
    with pytest.raises(ModelError, match="not a reward model"):
        drawn(tiny, {**rewards, "heldout_reward": tiny})


def test_as_a_command(tiny, rewards, tmp_path, capsys):
    for name, rows in (("pairs", PAIRS), ("prompts", [{"prompt": text} for text in PROMPTS])):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text)
    given = ["--model", tiny, "--data", str(tmp_path / "pairs.jsonl"), "--prompts"]
    given += [str(tmp_path / "prompts.jsonl"), "--out", str(tmp_path / "out")]
    given += ["--reward", rewards["reward"], "--heldout-reward", rewards["heldout_reward"]]
    few = [f"{name}={value}" for name, value in FEW.items()]
    few += ["response_length=4", "batch_size=8"]
    asked = ["--methods", "dpo", "--prices", "0.1", "--seeds", "1", "--budget", "16"]
    assert main(["frontier", *given, *asked, "--set", *few]) == 0
    told = capsys.readouterr().out
    assert "options that differ from the defaults: " in told and "--methods dpo" in told
    assert f"written: {tmp_path / 'out' / 'report.html'}" in told
    assert (tmp_path / "out" / "dpo-0.1-0" / "final").is_dir()
    assert main(["frontier", *given, "--prices", "much"]) == 1
    assert "'much' is not a number" in capsys.readouterr().err

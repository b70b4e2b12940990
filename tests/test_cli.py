"""The command line: the same verbs, and bad input answered in three parts with exit code 1."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

import workbench as wb
from workbench import child, cli
from workbench.cli import main
from workbench.cli_options import SAMPLING, SCORING, options_in_words, typed_values
from workbench.data.pairs import Pairs
from workbench.data.store.label_events import LabelEvent
from workbench.data.store.labels import LabelStore
from workbench.data.writing.store_archive import read_events
from workbench.json_lines import clean
from workbench.runs import Run, attach_or_create, devices
from workbench.runs import run as run_module
from workbench.settings import KINDS, PPOSettings
from workbench.verbs import batch, explain_scores, model_names

from .models.tiny import make_model
from .runs.conftest import until
from .training.conftest import make_adapter

INSTRUCTIONS = [{"instruction": f"say {w}", "input": "", "output": f"{w} {w}"} for w in "abcdefg"]
PAIRS = [
    {"instruction": f"say {w}", "chosen": f"{w} good", "rejected": f"bad {w}"} for w in "abcdefgh"
]
PROMPTS = [{"prompt": text} for text in ("a b", "c", "d e f", "g h")]
SET = ("quantization=none", "device=cpu", "lora_rank=4", "max_length=32")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def reward(tiny, tmp_path_factory):
    return str(make_adapter(tmp_path_factory.mktemp("reward"), tiny, 11, reward=True))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    named = {"instructions": INSTRUCTIONS, "pairs": PAIRS, "prompts": PROMPTS}
    for name, rows in named.items():
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text)
    (folder / "empty.jsonl").write_text("")
    (folder / "other.jsonl").write_text('{"topic": "a", "answer": "b"}\n')
    return folder


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("WORKBENCH_LOCKS", str(tmp_path / "locks"))
    monkeypatch.delenv("WORKBENCH_QUICK", raising=False)


@pytest.fixture
def here(monkeypatch):
    """Runs and jobs in this process."""

    def start(run, device=None):
        child.main([str(run.path)])
        devices.release_device("cpu")
        return run

    monkeypatch.setattr(Run, "start", start)
    monkeypatch.setattr(run_module, "LEAVING", 0.0)
    for module in (batch, explain_scores):
        monkeypatch.setattr(
            module,
            "run_job",
            lambda kind, request, **_: clean(child.do_job(kind, clean(request), lambda *_: None)),
        )


def train(kind, files, model, data, out, *more, settings=SET):
    given = ["--model", str(model), "--data", str(files / data), "--out", str(out)]
    return main([kind, *given, *more, "--set", *settings])


# --- what goes well ------------------------------------------------------------------------------


def test_three_commands_make_an_aligned_model(tiny, files, tmp_path, here, capsys):
    """SFT, reward model, PPO: each run is the next one's model, by its folder."""
    few = (*SET, "steps=2", "batch_size=4")
    sft, reward, ppo = (tmp_path / name for name in ("sft", "reward", "ppo"))
    assert train("sft", files, tiny, "instructions.jsonl", sft, settings=few) == 0
    assert train("reward", files, sft, "pairs.jsonl", reward, settings=few) == 0
    sampling = (*few, "response_length=8", "watch_prompts=0")
    more = ("--reward", str(reward), "--heldout-reward", str(reward))
    assert train("ppo", files, sft, "prompts.jsonl", ppo, *more, settings=sampling) == 0
    told = capsys.readouterr().out
    assert f"ppo finished: {ppo / 'final'}" in told
    config = json.loads((ppo / "config.json").read_text())
    assert config["settings"]["response_length"] == 8
    assert config["settings"]["quantization"] == "none"
    assert config["inputs"]["reward"] == config["inputs"]["heldout_reward"] == str(reward)
    rows = [json.loads(line) for line in (ppo / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["heldout/scores"] == pytest.approx(rows[0]["objective/scores"])  # the same model


def test_online_dpo_is_a_command(tiny, reward, files, tmp_path, here, capsys):
    sampling = (*SET, "steps=2", "batch_size=4", "response_length=8", "watch_prompts=0")
    out = tmp_path / "online"
    more = ("--reward", reward)
    assert train("online-dpo", files, tiny, "prompts.jsonl", out, *more, settings=sampling) == 0
    assert f"online finished: {out / 'final'}" in capsys.readouterr().out
    assert json.loads((out / "config.json").read_text())["kind"] == "online_dpo"


def test_the_same_command_again_does_nothing_again(tiny, files, tmp_path, here, capsys):
    for _ in range(2):
        assert train("sft", files, tiny, "instructions.jsonl", tmp_path / "run") == 0
    assert capsys.readouterr().out.count("run finished") == 2


def test_a_failed_run_is_resumed_by_the_same_command(tiny, files, tmp_path, here, monkeypatch):
    out = tmp_path / "run"
    real = child._trainer

    def breaks(*given):
        raise ZeroDivisionError

    monkeypatch.setattr(child, "_trainer", breaks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "resume", lambda run: None)
        assert train("sft", files, tiny, "instructions.jsonl", out) == 1
    monkeypatch.setattr(child, "_trainer", real)
    assert train("sft", files, tiny, "instructions.jsonl", out) == 0


@pytest.mark.parametrize("state", ["paused", "stopped", "failed"])
def test_the_same_command_goes_on_with_a_run_that_stands(state, files, tmp_path, monkeypatch):
    class Standing:
        name, final, status, did = "run", tmp_path, state, ()

        def resume(self):
            self.status, self.did = "running", (*self.did, "resume")

        def wait(self):
            self.did = (*self.did, "wait")

    run = Standing()
    monkeypatch.setattr(wb, "train_sft", lambda *given, **more: run)
    assert train("sft", files, "m", "instructions.jsonl", tmp_path / "run") == 0
    assert run.did == ("resume", "wait")


def test_sampled_pairs_are_written(tiny, files, tmp_path, here, capsys):
    out = tmp_path / "pairs.jsonl"
    given = ["--model", str(tiny), "--data", str(files / "prompts.jsonl"), "--out", str(out)]
    assert main(["sample", *given, "--responses", "2", "--set", *SET, "response_length=8"]) == 0
    pairs = wb.load_pairs(out)
    assert 1 <= len(pairs) <= 4
    assert {len(pair.responses) for pair in pairs} == {2}
    assert f"{len(pairs)} prompts with 2 answers each" in capsys.readouterr().out


def test_a_reward_model_is_evaluated(reward, files, tmp_path, here, capsys):
    out, worst = tmp_path / "found.json", tmp_path / "worst.jsonl"
    given = ["--reward", reward, "--data", str(files / "pairs.jsonl"), "--out", str(out)]
    assert main(["evaluate", *given, "--worst", str(worst), "--set", *SET]) == 0
    assert "of 8 comparisons" in capsys.readouterr().out
    figures = json.loads(out.read_text())["figures"]
    assert figures["pairs"] == 8.0 and 0.0 <= figures["accuracy"] <= 1.0
    wrong = round(8 * (1 - figures["accuracy"]))  # no two scores of this model are the same
    assert wrong and len(wb.load_pairs(worst)) == wrong


def test_a_score_is_explained(reward, tmp_path, here, capsys):
    out = tmp_path / "parts.json"
    given = ["--reward", reward, "--prompt", "a b", "--response", "c d", "--response", "good"]
    assert main(["why", *given, "--out", str(out), "--set", *SET]) == 0
    assert capsys.readouterr().out.count("without a word") == 2
    assert [len(a["parts"]) for a in json.loads(out.read_text())["answers"]] == [3, 2]


def test_import_writes_pairs_and_a_report_whose_counts_add_up(files, tmp_path):
    out, report = tmp_path / "pairs.jsonl", tmp_path / "report.json"
    assert (
        main(["import", str(files / "pairs.jsonl"), "--out", str(out), "--report", str(report)])
        == 0
    )
    told = json.loads(report.read_text())
    assert told["input"] == 8
    quarantined = sum(told["quarantined"].values())
    assert told["imported"] + told["ties"] + told["duplicates"] + quarantined == 8
    assert {"items", "format"} <= set(told)
    assert isinstance(wb.load_pairs(out), Pairs)


def test_import_writes_the_rows_that_were_put_aside(tmp_path):
    rows = [
        {"prompt": "p", "chosen": "a", "rejected": "b", "n": 1},
        {"prompt": "p", "chosen": "same", "rejected": "same", "n": 2},
    ]
    lines = [json.dumps(row) for row in rows]
    (tmp_path / "in.jsonl").write_text("\n".join([*lines, "{broken"]) + "\n")
    given = ["import", str(tmp_path / "in.jsonl"), "--out", str(tmp_path / "out.jsonl")]
    assert main([*given, "--quarantine", str(tmp_path / "aside.jsonl")]) == 0
    assert [json.loads(line) for line in (tmp_path / "aside.jsonl").read_text().splitlines()] == [
        {"row": 2, "reason": "the answers are the same text", "value": rows[1]},
        {"row": 3, "reason": "not valid JSON", "value": "{broken"},
    ]


def test_export_writes_what_trl_reads(files, tmp_path):
    out = tmp_path / "trl.jsonl"
    assert main(["export", str(files / "pairs.jsonl"), "--format", "trl", "--out", str(out)]) == 0
    row = json.loads(out.read_text().splitlines()[0])
    assert row == {
        "prompt": [{"role": "user", "content": "say a"}],
        "chosen": [{"role": "assistant", "content": "a good"}],
        "rejected": [{"role": "assistant", "content": "bad a"}],
    }


@pytest.fixture
def labels(tmp_path):
    """A store in which ada prefers the first answer to both prompts, and bob the second to one."""
    path = tmp_path / "labels.sqlite"
    pairs = wb.load_pairs([{"prompt": p, "responses": ["x", "y"]} for p in ("one", "two")])
    with LabelStore(path) as store:
        for n, (who, row, winner) in enumerate([("ada", 0, 0), ("ada", 1, 0), ("bob", 0, 1)]):
            label = {"label": {"kind": "choice", "winner": winner}}
            store.append(
                LabelEvent("label", pairs[row].id, who, label, f"e{n}", 1.0), item=pairs[row]
            )
    return path


def test_export_of_a_store_by_its_options(labels, tmp_path):
    out = tmp_path / "out.jsonl"

    def exported(*options):
        given = ["export", str(labels), "--format", "trl-standard", "--out", str(out)]
        assert main([*given, *options]) == 0
        return [(row["prompt"], row["chosen"]) for row in map(json.loads, out.open())]

    assert exported() == [("two", "x")]  # the other is a tie by majority
    assert sorted(exported("--ties", "both")) == [("one", "x"), ("one", "y"), ("two", "x")]
    assert exported("--annotators", "bob") == [("one", "y")]
    assert len(exported("--votes", "each")) == 3
    assert exported("--votes", "each", "--min-agreement", "0.6") == [("two", "x")]


def test_export_of_a_store_whole_and_in_parts(labels, tmp_path, capsys):
    out = tmp_path / "events.jsonl"
    assert main(["export", str(labels), "--format", "events", "--out", str(out)]) == 0
    with LabelStore(tmp_path / "again.sqlite") as again, LabelStore(labels) as store:
        assert read_events(out, again).event_list() == store.event_list()
    parts = ["--split", "train=0.5", "test=0.5", "--seed", "1", "--out", str(tmp_path / "p.jsonl")]
    assert main(["export", str(labels), *parts]) == 0
    assert {path.name for path in tmp_path.glob("p-*.jsonl")} == {"p-train.jsonl", "p-test.jsonl"}
    told = capsys.readouterr().out
    assert f"written: {tmp_path / 'p-train.jsonl'}" in told
    assert main(["export", str(labels), *parts[:1], "train=most", *parts[3:]]) == 1
    assert "add up to 1" in three_parts(capsys)


def test_settings_are_json_where_they_read_as_json():
    given = [
        "steps=20",
        "learning_rate=1e-3",
        "dtype=float32",
        'target_modules=["q_proj"]',
        "a=b=c",
    ]
    assert typed_values(given) == {
        "steps": 20,
        "learning_rate": 1e-3,
        "dtype": "float32",
        "target_modules": ["q_proj"],
        "a": "b=c",
    }


# --- nothing that is typed is ignored -------------------------------------------------------------


def commands():
    return cli._parser()._subparsers._group_actions[0].choices


def options():
    """Every option of every command that takes a value, with the command."""
    return [
        (name, action.option_strings[0], action)
        for name, parser in commands().items()
        for action in parser._actions
        if action.option_strings and action.nargs != 0
    ]


def required(name):
    """The least that must be typed to run a command."""
    parser = commands()[name]
    typed = [name]
    for action in parser._actions:
        if not action.option_strings:
            typed.append("thing")
        elif action.required:
            typed += [action.option_strings[0], "thing"]
    return typed


@pytest.mark.parametrize(
    ("name", "option", "nargs"), [(name, option, a.nargs) for name, option, a in options()]
)
def test_an_option_typed_twice_adds_up_or_is_refused(name, option, nargs, capsys):
    typed = [word for word in required(name) if word != option]
    if len(typed) < len(required(name)):  # the option was one that must be there
        index = required(name).index(option)
        typed = required(name)[:index] + required(name)[index + 2 :]
    if nargs is None:
        with pytest.raises(SystemExit) as done:
            cli._parser().parse_args([*typed, option, "1", option, "2"])
        assert done.value.code == 2
        assert f"{option} is given twice" in capsys.readouterr().err
    else:
        args = cli._parser().parse_args([*typed, option, "a=1", "b=2", option, "c=3"])
        dest = option.lstrip("-")
        assert getattr(args, dest) == ["a=1", "b=2", "c=3"]


def test_repeated_sets_all_count(files, tmp_path, monkeypatch, capsys):
    asked = {}

    def take(*given, **more):
        asked.update(more)
        raise KeyboardInterrupt

    monkeypatch.setattr(wb, "train_sft", take)
    given = ["--model", "m", "--data", "d", "--out", str(tmp_path / "run")]
    assert main(["sft", *given, "--set", "steps=3", "--set", "seed=4", "epochs=2"]) == 130
    assert (asked["steps"], asked["seed"], asked["epochs"]) == (3, 4, 2)
    told = capsys.readouterr().out
    assert (
        "settings that differ from the defaults: seed = 4 (0), epochs = 2.0 (1.0), steps = 3 (0)"
    ) in told
    assert "without effect: epochs = 2.0: steps = 3 is taken" in told


def test_a_name_given_twice_is_refused_wherever_it_stands(tmp_path, capsys):
    given = ["--model", "m", "--data", "d", "--out", str(tmp_path / "run")]
    assert main(["sft", *given, "--set", "steps=3", "--set", "steps=3"]) == 1
    assert "steps is given twice" in three_parts(capsys)
    assert main(["export", "x", "--out", "y", "--split", "a=0.5", "--split", "a=0.5"]) == 1
    assert "a is given twice" in three_parts(capsys)


@pytest.mark.parametrize(
    ("command", "word", "said"),
    [
        ("sft", "--kl-coef=1", "nothing takes --kl-coef=1"),
        ("ppo", "--kl-coef=1", "did you mean --set kl_coef?"),
        ("ppo", "--stpes", "did you mean --set steps?"),
        ("ppo", "--heldout", "did you mean --heldout-reward?"),  # the beginning is not enough
        ("export", "--tie", "did you mean --ties?"),
        ("demo", "--sed", "did you mean --seed?"),
        ("status", "--trust", "nothing takes --trust"),
        ("import", "--set", "nothing takes --set"),
    ],
)
def test_an_option_that_does_not_exist_says_what_was_meant(command, word, said, capsys):
    with pytest.raises(SystemExit) as done:
        main([*required(command), word])
    assert done.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", ["name", "fresh", "trust", "preset", "prompts", "responses"])
@pytest.mark.parametrize("command", ["ppo", "sample", "verify", "evaluate"])
def test_a_setting_is_no_way_round_to_an_argument(command, name, tmp_path, capsys):
    assert main([*required(command), "--set", f"{name}=true"]) == 1
    assert f"there is no setting called {name}" in three_parts(capsys)


def test_every_command_says_first_what_differs(labels, files, tmp_path, monkeypatch, capsys):
    def ends(*given, **more):
        raise KeyboardInterrupt

    for name in ("train_ppo", "sample_pairs", "evaluate_reward", "verify", "preflight"):
        monkeypatch.setattr(wb, name, ends)
    monkeypatch.setattr(cli, "preset_settings", lambda name, changes: {"steps": 9, **changes})

    def told(*typed):
        assert main(list(typed)) in (0, 130)
        both = capsys.readouterr()
        return both.out + both.err

    ppo = [*required("ppo"), "--preset", "p"]
    said = told(*ppo, "--set", "kl_coef=0.5", "lam=0.9", "advantage=rloo", "samples_per_prompt=2")
    assert "options that differ from the defaults: --preset p" in said
    assert "steps = 9 (70)" in said and "kl_coef = 0.5 (0.1)" in said
    assert "advantage = rloo (gae)" in said
    assert "without effect: lam = 0.9: it counts where advantage = gae" in said
    assert "settings that differ from the defaults: steps = 9 (70)" in told(*ppo)
    said = told(*ppo, "--preflight-only", "--trust")
    assert "nothing is written to --out, and nothing needs --trust" in said
    assert "steps = 9" in told(*required("verify"), "--minutes", "3")
    said = told(*required("sample"), "--set", "kl_coef=0.5", "seed=3")
    assert "settings that differ from the defaults: seed = 3 (0)" in said
    assert "without effect: kl_coef = 0.5: this command does not use it" in said
    assert "defaults: none" in told(*required("evaluate"))
    out = str(tmp_path / "out.jsonl")
    said = told("export", str(labels), "--out", out, "--ties", "both", "--annotators", "ada")
    assert "options that differ from the defaults: --ties both (drop), --annotators ada" in said
    assert "differ" not in told("export", str(labels), "--out", out)


def test_what_a_format_cannot_use_is_refused(labels, files, tmp_path, capsys):
    out = ["--out", str(tmp_path / "out.jsonl")]
    for typed, said in (
        (["--seed", "3"], "a seed draws the parts of a split"),
        (["--format", "events", "--annotators", "ada"], "annotators does not go with"),
        (["--format", "events", "--min-agreement", "0.5"], "min_agreement does not go with"),
        (["--format", "canonical", "--k-way", "adjacent"], "k_way does not go with"),
    ):
        assert main(["export", str(labels), *out, *typed]) == 1
        assert said in three_parts(capsys)
    assert main(["import", str(labels), *out, "--format", "trl"]) == 1
    assert "this holds pairs already" in three_parts(capsys)
    assert not (tmp_path / "out.jsonl").exists()


def test_a_file_that_cannot_be_written_is_told_before_the_work(files, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    given = ["import", str(files / "pairs.jsonl"), "--out", str(tmp_path / "out.jsonl")]
    for place in (tmp_path, tmp_path / "file" / "report.json"):
        assert main([*given, "--report", str(place)]) == 1
        assert f"--report {place}" in three_parts(capsys)
        assert not (tmp_path / "out.jsonl").exists()
    assert main([*given, "--report", str(tmp_path / "new" / "report.json")]) == 0
    assert (tmp_path / "new" / "report.json").exists()
    sample = [*required("sample")[:-1], str(tmp_path)]
    assert main(sample) == 1
    assert f"--out {tmp_path}" in three_parts(capsys)


@pytest.mark.parametrize("number", ["1", "0", "-3"])
def test_answers_too_few_to_judge_are_refused(number, tiny, files, tmp_path, capsys):
    given = ["--model", str(tiny), "--data", str(files / "prompts.jsonl")]
    given += ["--out", str(tmp_path / "pairs.jsonl"), "--responses", number]
    assert main(["sample", *given]) == 1
    assert f"{number} answers to a prompt leave nothing to judge" in three_parts(capsys)


def test_the_settings_that_count_for_answers_and_scores(tiny, reward, monkeypatch):
    """By what the jobs themselves read: no other setting is said to count, and none is left out."""
    from workbench.training import batch_jobs

    read = set()

    class Watched(PPOSettings):
        def __getattribute__(self, name):
            read.add(name)
            return super().__getattribute__(name)

    names = {row["name"] for row in PPOSettings.table()}
    settings = Watched.from_dict(typed_values([*SET, "response_length=4"]))
    prompts = [[{"role": "user", "content": "say a"}]]
    training = {"lora_rank", "lora_alpha", "target_modules", "gradient_checkpointing"}
    read.clear()
    batch_jobs.answers([str(tiny)], prompts, settings)
    assert names & read - training == set(SAMPLING)
    read.clear()
    batch_jobs.scores(reward, prompts, ["a"], settings)
    assert names & read - training == set(SCORING)


@pytest.mark.parametrize("kind", ["sft", "reward", "dpo", "online-dpo", "ppo"])
def test_help_names_every_setting(kind, capsys):
    with pytest.raises(SystemExit) as done:
        main([kind, "--help"])
    assert done.value.code == 0
    told = capsys.readouterr().out
    assert all(row["name"] in told for row in KINDS[kind.replace("-", "_")].table())


def test_a_live_run_is_steered_and_holds_its_device(tiny, files, tmp_path, capsys):
    """A real process: status, pause, resume, stop; a second run is refused, naming the first."""
    settings = {"quantization": "none", "device": "cpu", "lora_rank": 4, "max_length": 32}
    run = wb.train_sft(tiny, INSTRUCTIONS, name="first", steps=100_000, **settings)
    try:
        until(lambda: run.folder.status()["step"] > 0, seconds=60)
        assert main(["status", "first"]) == 0
        assert "first: running, step" in capsys.readouterr().out
        assert train("sft", files, tiny, "instructions.jsonl", tmp_path / "second") == 1
        refused = capsys.readouterr().err
        assert "RunError: cpu is busy: the run first" in refused
        assert "where: starting second" in refused
        assert "fix:" in refused and "stop()" in refused
        assert not (tmp_path / "second").exists()
        assert main(["pause", "first"]) == 0
        until(lambda: run.status == "paused")
        assert main(["resume", str(run.path)]) == 0
        until(lambda: run.status == "running")
    finally:
        assert main(["stop", "first"]) == 0
        until(lambda: run.status == "stopped")
        until(lambda: not run.folder.process_alive())
    assert (run.final / "adapter_model.safetensors").is_file()
    told = [e["command"] for e in run.folder.events() if e["kind"] == "done"]
    assert told == ["pause", "resume", "stop"]


# --- bad input -----------------------------------------------------------------------------------


def three_parts(capsys) -> str:
    """What stderr said, after seeing that it has the three parts and no traceback."""
    told = capsys.readouterr().err
    assert "Traceback" not in told
    first, *rest = told.strip().splitlines()
    assert "Error: " in first
    assert any(line.startswith("  where: ") for line in rest), told
    assert any(line.startswith("  fix:   ") for line in rest), told
    return told


@pytest.mark.parametrize("kind", ["sft", "reward", "dpo", "online-dpo", "ppo"])
@pytest.mark.parametrize(
    ("data", "said"), [("nowhere.jsonl", "nowhere.jsonl"), ("empty.jsonl", "empty.jsonl")]
)
def test_a_missing_and_an_empty_file(kind, data, said, tiny, reward, files, tmp_path, capsys):
    more = ("--reward", reward) if kind in ("online-dpo", "ppo") else ()
    assert train(kind, files, tiny, data, tmp_path / "run", *more) == 1
    assert said in three_parts(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["sft", "reward", "dpo", "online-dpo", "ppo"])
def test_a_file_without_the_columns_needed(kind, tiny, reward, files, tmp_path, capsys):
    more = ("--reward", reward) if kind in ("online-dpo", "ppo") else ()
    assert train(kind, files, tiny, "other.jsonl", tmp_path / "run", *more) == 1
    told = three_parts(capsys)
    assert "topic" in told and "answer" in told  # what it has
    needed = {"sft": "instruction", "reward": "chosen", "dpo": "chosen"}.get(kind, "prompt")
    assert needed in told  # what it should have


@pytest.mark.parametrize("command", ["import", "export"])
@pytest.mark.parametrize("data", ["nowhere.jsonl", "empty.jsonl", "other.jsonl"])
def test_pairs_that_cannot_be_read(command, data, files, tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    assert main([command, str(files / data), "--out", str(out)]) == 1
    assert data in three_parts(capsys)
    assert not out.exists()


def test_a_model_folder_that_is_not_one(files, tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    assert train("sft", files, tmp_path / "folder", "instructions.jsonl", tmp_path / "run") == 1
    told = three_parts(capsys)
    assert "holds no model" in told and str(tmp_path / "folder") in told


def test_a_model_that_is_nowhere(files, tmp_path, capsys):
    assert train("sft", files, "no-such-model", "instructions.jsonl", tmp_path / "run") == 1
    assert "builtin:tiny-chat" in three_parts(capsys)


def test_a_reward_model_that_is_none(tiny, files, tmp_path, capsys):
    more = ("--reward", str(tiny))
    assert train("ppo", files, tiny, "prompts.jsonl", tmp_path / "run", *more) == 1
    assert "not a reward model" in three_parts(capsys)


def test_a_run_of_that_name_with_other_settings(tiny, files, tmp_path, here, capsys):
    out = tmp_path / "run"
    assert train("sft", files, tiny, "instructions.jsonl", out, settings=(*SET, "steps=1")) == 0
    assert train("sft", files, tiny, "instructions.jsonl", out, settings=(*SET, "steps=2")) == 1
    assert "settings.steps: 1 -> 2" in three_parts(capsys)


def test_a_second_run_on_a_busy_device(tiny, files, tmp_path, capsys):
    config = {"model": str(tiny), "inputs": {}, "settings": {}}
    first = attach_or_create(tmp_path, "sft", "the-first", config, [{"text": "a"}]).folder
    lock = devices.take_device("cpu", first)
    try:
        assert train("sft", files, tiny, "instructions.jsonl", tmp_path / "run") == 1
    finally:
        devices.os.close(lock)
    assert "cpu is busy: the run the-first" in three_parts(capsys)


def test_cuda_asked_for_and_absent(tiny, files, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(model_names.ctypes.util, "find_library", lambda name: None)
    monkeypatch.setattr(model_names.shutil, "which", lambda name: None)
    out, settings = tmp_path / "run", (*SET[:1], "device=cuda", *SET[2:])
    assert train("sft", files, tiny, "instructions.jsonl", out, settings=settings) == 1
    assert "CUDA was asked for" in three_parts(capsys)
    assert not out.exists()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("steps", "write name=value"),
        ("stpes=3", "did you mean steps"),
        ("steps=many", "wrong type"),
        ("learning_rate=-1", "out of range"),
        ("quantization=int3", "choose one of"),
    ],
)
def test_a_setting_that_cannot_be(setting, said, tiny, files, tmp_path, capsys):
    out = tmp_path / "run"
    others = [other for other in SET if other.partition("=")[0] != setting.partition("=")[0]]
    assert train("sft", files, tiny, "instructions.jsonl", out, settings=(*others, setting)) == 1
    assert said in three_parts(capsys)


@pytest.mark.parametrize("command", ["status", "pause", "resume", "stop"])
def test_a_run_that_does_not_exist(command, capsys):
    assert main([command, "nowhere"]) == 1
    assert "no run called nowhere" in three_parts(capsys)


def test_a_run_that_was_made_elsewhere_goes_on_only_with_trust(
    tiny, files, tmp_path, here, capsys, monkeypatch
):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Run, "start", lambda run, device=None: run)
        patch.setattr(Run, "wait", lambda run, **_: run)
        patch.setattr(Run, "status", "finished")
        train("sft", files, tiny, "instructions.jsonl", out, settings=(*SET, "steps=1"))
    (out / "status.json").write_text('{"state": "stopped"}')
    monkeypatch.setenv("WORKBENCH_STATE", str(tmp_path / "another's"))
    capsys.readouterr()
    main(["resume", str(out)])
    assert "was made elsewhere" in capsys.readouterr().err
    (out / "status.json").write_text('{"state": "stopped"}')
    assert main(["resume", "--trust", str(out)]) == 0
    assert "run: finished, step 1 of 1" in capsys.readouterr().out


def test_what_cannot_be_done_with_a_finished_run(tiny, files, tmp_path, here, capsys):
    out = tmp_path / "run"
    train("sft", files, tiny, "instructions.jsonl", out, settings=(*SET, "steps=1"))
    capsys.readouterr()
    for command in ("pause", "resume", "stop"):
        assert main([command, str(out)]) == 1
        assert "finished" in three_parts(capsys)
    assert main(["status", str(out)]) == 0
    assert "run: finished, step 1 of 1" in capsys.readouterr().out


def test_a_run_that_fails_says_why(tiny, files, tmp_path, here, capsys):
    """The process knows what could not be known before: every answer fills max_length."""
    (tmp_path / "long.jsonl").write_text(
        json.dumps({"instruction": "a", "input": "", "output": " ".join("a" * 40)}) + "\n"
    )
    out = tmp_path / "run"
    assert train("sft", tmp_path, tiny, "long.jsonl", out) == 1
    assert "no example is left to train on" in three_parts(capsys)
    assert main(["status", str(out)]) == 0
    assert "run: failed" in capsys.readouterr().out


def test_the_module_is_the_command(tmp_path):
    """``python -m workbench``: exit code 1, three parts on stderr, nothing else."""
    given = ["import", str(tmp_path / "nowhere.jsonl"), "--out", str(tmp_path / "out.jsonl")]
    done = subprocess.run(
        [sys.executable, "-m", "workbench", *given], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("DataError: ")
    assert "where:" in done.stderr and "fix:" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupt_is_no_fault(monkeypatch, files, tmp_path):
    def interrupted(*given, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(wb, "load_pairs", interrupted)
    assert main(["import", str(files / "pairs.jsonl"), "--out", str(tmp_path / "out")]) == 130


def test_a_path_that_is_the_default_does_not_differ_from_it():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default="runs/demo", type=Path)
    assert options_in_words(parser, parser.parse_args([])) == ""
    elsewhere = options_in_words(parser, parser.parse_args(["--out", "here"]))
    assert elsewhere == "options that differ from the defaults: --out here (runs/demo)"

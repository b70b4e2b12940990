"""A mistyped name is told at once, by every verb, for every argument that names something."""

import inspect
import json
import resource
import subprocess
import sys
from typing import Any

import pytest

import workbench as wb
from workbench.errors import WorkbenchError
from workbench.runs import Run, RunFolder, jobs
from workbench.verbs import load_data

HEAVY = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "datasets", "plotly")
PAIRS = [{"prompt": "p", "chosen": "a", "rejected": "b"}]

# By the name of a parameter: what is mistyped, and the name that it was meant to be.
MODEL = ("builtin:tiny-chta", "did you mean builtin:tiny-chat?")
REWARD = ("rewrad-pets", "did you mean reward-pets?")
FILE = ("sample:prompts_hedlout", "did you mean sample:prompts_heldout?")
RUN = ("polciy-pets", "did you mean policy-pets")
MISTYPED: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(("model", "models", "policy", "reference"), MODEL),
    **dict.fromkeys(("reward", "heldout_reward"), REWARD),
    **dict.fromkeys(
        ("pairs", "prompts", "data", "source", "heldout", "against", "again", "leave_out"), FILE
    ),
    **dict.fromkeys(("run", "name_or_path"), RUN),
    "format": ("ultrafedback", "did you mean ultrafeedback"),
    "columns": ({"promt": "question", "chosen": "good", "rejected": "bad"}, "write 'prompt'"),
    "even_split": ("tei", "did you mean tie?"),
    "order": ("uncertian", "did you mean uncertain?"),
    "keys": ({"lefft": "j"}, "did you mean left?"),
    "judge": ("glod", "did you mean gold?"),
    "preset": ("t4-05b", "did you mean t4-0.5b?"),
    "scores": ("sorce", "did you mean source?"),
    "dtype": ("float23", "did you mean float32?"),
    "methods": (["rlo"], "did you mean rloo?"),
    "method": ("rlo", "did you mean rloo?"),
    "equal": ("promts", "did you mean prompts?"),
}
SETTINGS = ("settings", "changes")  # what takes settings by name
MISTYPED_SETTINGS = [
    ({"lora_rnak": 8}, "did you mean lora_rank?"),
    ({"quantization": "nf5"}, "did you mean nf4?"),
]
ALSO = {("label", "gold"): FILE}  # a switch elsewhere
NO_NAMES = {  # numbers, switches, new names, objects: nothing that could be looked up
    *("annotator", "seed", "best_of", "gold", "queue", "store", "strength", "overlap", "repeats"),
    *("explore", "ranking", "n", "on_progress", "folder", "sizes", "name", "fresh", "timeout"),
    *("card_gb", "minutes", "best_of_n", "private", "path", "repository", "responses", "spread"),
    *(
        "prompt",
        "response",
        "first",
        "last",
        "trust",
        "guidelines",
        "tags",
        "planned",
        "out",
        "prices",
        "rates",
    ),
}
OBJECTS = {("plan", "settings"), ("preflight", "settings"), ("next_round", "pairs")}  # no names

VERBS = {name: getattr(wb, name) for name in wb.__all__ if inspect.isfunction(getattr(wb, name))}


def cases():
    """Every argument of every verb that names something, with a mistyped value."""
    arguments = [
        (verb, name)
        for verb, function in VERBS.items()
        for name, parameter in inspect.signature(function).parameters.items()
        if not isinstance(parameter.default, bool | int | float) or (verb, name) in ALSO
    ]  # what has a number or a switch for its default names nothing
    for verb, name in arguments:
        if (verb, name) in OBJECTS or (name in NO_NAMES and (verb, name) not in ALSO):
            continue
        if name in SETTINGS:
            mistyped = MISTYPED_SETTINGS
        else:
            value, hint = ALSO.get((verb, name)) or MISTYPED[name]  # a new name belongs in a table
            mistyped = [({name: value}, hint)]
        for number, (given, hint) in enumerate(mistyped):
            yield pytest.param(verb, given, hint, id=f"{verb}-{name}-{number}")


@pytest.fixture
def right(tmp_path, monkeypatch):
    """What is right for each argument; no job, no run and no heavy package may be begun."""
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(jobs, "_follow", lambda *_: pytest.fail("a job was started"))
    monkeypatch.setattr(Run, "start", lambda *_: pytest.fail("a run was started"))
    for package in HEAVY:
        monkeypatch.setitem(sys.modules, package, None)  # its import fails
    base = {"model": "builtin:tiny-chat", "inputs": {}, "settings": {}}
    for kind, name in (("reward", "reward-pets"), ("ppo", "policy-pets")):
        folder = RunFolder(tmp_path / "runs" / name).create(kind, base, [])
        folder.final.mkdir()
        card = {"kind": kind, "base": "builtin:tiny-chat"}
        task = {"task_type": "SEQ_CLS"} if kind == "reward" else {}
        (folder.final / "workbench.json").write_text(json.dumps(card))
        (folder.final / "adapter_config.json").write_text(json.dumps(task))
        status = {**folder.written_status(), "state": "finished"}
        (folder.path / "status.json").write_text(json.dumps(status))
    return {
        **dict.fromkeys(("model", "models", "policy"), "builtin:tiny-chat"),
        "reward": "reward-pets",
        **{name: ["say a"] for name in ("prompts", "data")},
        "source": [{"question": "p", "good": "a", "bad": "b"}],
        **dict.fromkeys(("pairs", "heldout"), PAIRS),
        "store": wb.LabelStore(tmp_path / "labels.sqlite"),
        "run": "policy-pets",
        "prompt": "say a",
        "responses": ["a"],
        "folder": tmp_path / "new",
        "repository": "owner/name",
    }


def called(verb: str, right: dict[str, Any], given: dict[str, Any]) -> None:
    """Call a verb with what it must have, and what is given in the place of that."""
    signature = inspect.signature(VERBS[verb])
    values: dict[str, Any] = {
        name: right[name]
        for name, parameter in signature.parameters.items()
        if name in right
        and parameter.default is parameter.empty
        and (parameter.kind is not parameter.VAR_POSITIONAL or name == "models")
    }
    if verb == "label" and "reward" in given:
        values["order"] = "uncertain"
    values.update(given)
    several = values.pop("models", None)
    VERBS[verb](*([] if several is None else [several]), **values)


@pytest.mark.parametrize(("verb", "given", "hint"), [*cases()])
def test_a_mistyped_name_is_told_with_the_nearest_before_anything_heavy(verb, given, hint, right):
    with pytest.raises(WorkbenchError) as caught:
        called(verb, right, given)
    assert hint in str(caught.value)


def test_what_is_right_gets_further(right):
    """The cases above fail by the one value that is mistyped: without it a job is started."""
    for verb in ("score", "best_of_n", "export_model", "plan"):
        with pytest.raises(pytest.fail.Exception, match="a job was started"):
            called(verb, right, {})


def test_all_names_are_looked_at_before_any_data_is_read(right, monkeypatch):
    """A million pairs take half a minute: the mistyped name behind them is not told after that."""
    monkeypatch.setattr(load_data, "as_pairs", lambda _: pytest.fail("data was read"))
    for name in ("as_pairs", "load_prompts", "load_examples"):
        for module in [m for n, m in sys.modules.items() if n.startswith("workbench.verbs.")]:
            if hasattr(module, name):
                monkeypatch.setattr(module, name, lambda *_: pytest.fail("data was read"))
    for verb, name in (
        ("train_ppo", "reward"),
        ("train_ppo", "heldout_reward"),
        ("compare", "reward"),
        ("compare", "keys"),
        ("label", "gold"),
        ("label", "order"),
        ("learning_curve", "heldout"),
        ("quality", "against"),
        ("best_of_n", "heldout_reward"),
        ("evaluate_reward", "reward"),
        ("frontier", "heldout"),
        ("frontier", "heldout_reward"),
    ):
        value, hint = ALSO.get((verb, name)) or MISTYPED[name]
        with pytest.raises(WorkbenchError) as caught:
            called(verb, right, {name: value})
        assert hint in str(caught.value), (verb, name)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("tiny-chta", "did you mean builtin:tiny-chat?"),
        ("Qwen/Qwen2.5-0.5B-Instrcut", "did you mean Qwen/Qwen2.5-0.5B-Instruct?"),
        ("round-3/ppo-4", "did you mean round-3/ppo-3?"),
        ("models/tiny-qwne", "did you mean models/tiny-qwen?"),
        ("nothing/like-it", "check"),
    ],
)
def test_models_by_any_kind_of_name(name, hint, right, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "hub" / "models--Qwen--Qwen2.5-0.5B-Instruct").mkdir(parents=True)
    RunFolder(tmp_path / "runs" / "round-3" / "ppo-3").create("ppo", {"model": ""}, [])
    (tmp_path / "models" / "tiny-qwen").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WorkbenchError) as caught:
        wb.plan(name)
    assert hint in str(caught.value)
    assert ("did you mean" in str(caught.value)) == (hint != "check")


def test_it_takes_less_than_a_second_from_a_cold_start():
    """Processor time, the least of three: start Python, import the workbench, and be told."""
    code = "import workbench as wb; wb.compare('builtin:tiny-chta', prompts=['hello'])"
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert "did you mean builtin:tiny-chat?" in told.stderr
    assert min(seconds) < 1.0

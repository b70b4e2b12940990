import json

import pytest

from workbench.errors import DataError
from workbench.runs import Run, RunFolder
from workbench.verbs.look_closely import loss_explorer, microscope


def test_the_embedded_models_own_record_is_there_at_once():
    scope = microscope()
    assert scope.kind == "ppo" and len(scope.steps) >= 5
    for step in scope.steps:
        for rank in ("best", "worst"):
            shown = scope.show(step, rank)
            assert shown.frame["advantage"].tolist() == pytest.approx(
                shown.record["advantages"], abs=1e-6
            )
            assert sum(shown.frame["log_ratio"].tolist()) == pytest.approx(
                shown.record["kl"], abs=1e-5
            )
            assert shown.frame["value"].tolist() == shown.record["values"]


def test_a_run_of_another_kind_is_told_where_to_look(tmp_path):
    run = Run(RunFolder(tmp_path / "reward").create("reward", {}, []))
    with pytest.raises(DataError, match="reward run"):
        microscope(run)


def test_a_run_that_has_judged_no_pair_has_nothing_to_lay_on_the_curve(tmp_path):
    run = Run(RunFolder(tmp_path / "reward").create("reward", {}, []))
    with pytest.raises(DataError, match="no held-out pair"):
        loss_explorer(run)
    assert loss_explorer().pairs == []


def test_a_run_that_goes_on_is_read_on_and_a_resumed_one_again(tmp_path):
    folder = RunFolder(tmp_path / "sft").create("sft", {}, [])
    example = {"prompt_tokens": [], "tokens": ["a"], "learned": [True], "logprobs": [-1.0]}
    row = {**example, "expected": [[["a", 0.37]]]}
    lines = folder.path / "tokens.jsonl"
    lines.write_text("".join(json.dumps({"step": n, **row}) + "\n" for n in (1, 2)))
    scope = microscope(Run(folder))
    with lines.open("a") as file:
        file.write(json.dumps({"step": 3, **row}) + "\n")
    assert scope.show(3).steps == [1, 2, 3]
    lines.write_text(json.dumps({"step": 1, **row}) + "\n")  # shorter: a resumed run cut it
    assert scope.show(1).steps == [1]


def test_a_finished_run_of_one_reward_model_can_say_why(tmp_path, monkeypatch):
    from workbench.widgets.kit import why_score

    monkeypatch.setattr(why_score, "ask_why", lambda question: question)
    scopes = {}
    row = {"step": 1, "tokens": ["a"], "prompt": "say a", "response": "a"}
    for name, reward in (("one", "/the/reward"), ("mix", {"mix": []})):
        config = {"inputs": {"reward": reward}, "settings": {"dtype": "float32", "kl_coef": 0.1}}
        folder = RunFolder(tmp_path / name).create("ppo", config, [])
        (folder.path / "tokens.jsonl").write_text(json.dumps(row) + "\n")
        assert microscope(Run(folder))._explain is None  # it is live
        (folder.path / "status.json").write_text(json.dumps({"state": "finished"}))
        scopes[name] = microscope(Run(folder))
    assert scopes["mix"]._explain is None
    assert scopes["one"]._explain(row) == {
        "reward": "/the/reward",
        "prompt": [{"role": "user", "content": "say a"}],
        "response": "a",
        "settings": {"dtype": "float32"},
    }

import json
from pathlib import Path

import pytest

import workbench as wb
from workbench import child, cli
from workbench.errors import ConfigError
from workbench.verbs import run_preflight

from ..models.tiny import make_model

GREEN = {"name": "a", "passed": True, "found": "all <well>", "fix": "nothing"}
RED = {"name": "b", "passed": False, "found": "not well", "fix": "mend it"}


def test_a_table_of_green_and_red_with_what_to_do():
    mixed = run_preflight.Preflight([GREEN, RED])
    assert not mixed.passed
    assert repr(mixed).splitlines() == [
        "ok    a: all <well>",
        "FAIL  b: not well",
        "      to do: mend it",
        "1 of 2 checks failed",
    ]
    shown = mixed._repr_html_()
    assert "all &lt;well&gt;" in shown and "mend it" in shown and "nothing" not in shown
    assert list(mixed.frame.index) == ["a", "b"]
    assert run_preflight.Preflight([GREEN]).passed
    assert "ready" in repr(run_preflight.Preflight([GREEN]))


@pytest.fixture
def asked(monkeypatch):
    """Jobs run here."""
    seen = []

    def run_job(kind, request, **_):
        seen.append(json.loads(json.dumps(request)))
        return child.do_job(kind, seen[-1], lambda *told: None)

    monkeypatch.setattr(run_preflight, "run_job", run_job)
    return seen


def test_on_a_model_with_a_function_from_the_notebook(asked, tmp_path):
    model = make_model(tmp_path / "model")
    few = {"lora_rank": 4, "max_length": 64, "response_length": 16, "micro_batch_tokens": 256}
    found = wb.preflight(model, lambda prompts, texts: [len(t) / 9 for t in texts], **few)
    assert found.passed, found
    assert len(found.checks) == 9
    assert asked[0]["settings"]["lora_rank"] == 4
    assert not Path(asked[0]["folder"]).exists()  # nothing is left behind
    with pytest.raises(ConfigError, match="no setting called"):
        wb.preflight(model, "json:dumps", lora_rnk=3)


@pytest.mark.parametrize(("check", "code"), [(GREEN, 0), (RED, 1)])
def test_the_command_line_ends_after_it(monkeypatch, capsys, check, code):

    given = {}

    def preflight(model, reward, **named):
        given.update(named, model=model, reward=reward)
        return run_preflight.Preflight([check])

    monkeypatch.setattr(wb, "preflight", preflight)
    line = "ppo --model m --reward r --data p.jsonl --out o --preset 24gb-7b --preflight-only"
    assert cli.main([*line.split(), "--set", "steps=3"]) == code
    assert given == {
        "model": "m",
        "reward": "r",
        "prompts": "p.jsonl",
        "preset": "24gb-7b",
        "steps": 3,
    }
    assert check["found"] in capsys.readouterr().out

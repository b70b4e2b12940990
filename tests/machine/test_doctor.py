"""``wb.doctor``: one sentence, a table, an exit code; and the smallest loop, which really runs."""

from types import SimpleNamespace

import pandas as pd
import pytest

import workbench as wb
from workbench import cli
from workbench.errors import ModelError
from workbench.machine import device_findings, doctor, first_loop
from workbench.machine.doctor import Diagnosis
from workbench.machine.findings import MachineFact
from workbench.machine.libraries import Probed

FINE = MachineFact("disk", "ok", "9 GB <free>")
LOOK = MachineFact("4-bit", "look", "does not work", "install it")
BAD = MachineFact("torch", "failed", "not installed", "pip install torch")


@pytest.fixture
def unprobed(monkeypatch):
    """Nothing is imported; the device is a CPU."""
    row = {"torch": "2.13", "cuda": None, "gpu": None, "threads": 2}
    monkeypatch.setattr(doctor, "probe", lambda modules: Probed({"device": row}, "", ""))


def test_what_is_found_is_told_in_a_sentence_and_what_to_do():
    mixed = Diagnosis([FINE, LOOK, BAD])
    assert not mixed.passed
    assert repr(mixed).splitlines() == [
        "ok    disk: 9 GB <free>",
        "LOOK  4-bit: does not work",
        "      to do: install it",
        "FAIL  torch: not installed",
        "      to do: pip install torch",
        "Not ready: mend torch first",
    ]
    shown = mixed._repr_html_()
    assert "9 GB &lt;free&gt;" in shown and "pip install torch" in shown
    assert Diagnosis([FINE, LOOK]).passed
    assert Diagnosis([FINE, LOOK]).verdict == "This machine can train; worth a look: 4-bit"
    assert Diagnosis([FINE]).verdict == "This machine can train, and nothing is amiss"


@pytest.mark.usefixtures("unprobed")
def test_a_check_that_fails_itself_hides_none_of_the_others(monkeypatch):
    def broken(probed):
        raise ZeroDivisionError("no reason")

    monkeypatch.setattr(device_findings, "device_findings", broken)
    found = {one.name: one for one in wb.doctor().findings}
    assert found["device"].state == "look" and "ZeroDivisionError" in found["device"].found
    assert {"libraries", "runs", "disk"} <= found.keys()


@pytest.mark.parametrize(("finding", "code"), [(FINE, 0), (LOOK, 0), (BAD, 1)])
def test_the_command_line_prints_it_and_its_code_says_whether_a_run_can_be_trained(
    monkeypatch, capsys, finding, code
):
    asked = []

    def stand_in(*, self_test):
        asked.append(self_test)
        return Diagnosis([finding])

    monkeypatch.setattr(wb, "doctor", stand_in)
    assert cli.main(["doctor"]) == code
    assert cli.main(["doctor", "--self-test"]) == code
    assert asked == [False, True]
    assert finding.found in capsys.readouterr().out


@pytest.mark.usefixtures("unprobed")
def test_the_self_test_is_not_begun_where_something_has_failed(monkeypatch):
    monkeypatch.setattr(doctor, "library_findings", lambda asked, probed: [BAD])
    last = wb.doctor(self_test=True).findings[-1]
    assert (last.name, last.state) == ("self-test", "failed")


def test_the_self_test_ends_at_the_part_that_fails_and_says_why(monkeypatch):
    def refuse(*_, **__):
        raise ModelError("the folder is missing", where="here", fix="install it again")

    monkeypatch.setattr(first_loop.wb, "train_reward", refuse)
    read, reward = first_loop.first_loop()
    assert (read.name, read.state) == ("self-test, reading", "ok")
    assert reward == (
        "self-test, reward model",
        "failed",
        "the folder is missing (here)",
        "install it again",
    )


PARTS = ["reading", "reward model", "PPO", "answers"]


def stand_in_run(status="finished", **last):
    """A run that has ended with these numbers."""
    row = {"loss": 0.5, "objective/kl": 0.1, "objective/scores": 0.2, "policy/first_ratio": 1.0}
    folder = SimpleNamespace(status=lambda: {"error": "out of memory"})
    return SimpleNamespace(
        status=status, folder=folder, metrics=lambda: pd.DataFrame([{**row, **last}])
    )


@pytest.fixture
def stand_ins(monkeypatch, tmp_path):
    """Nothing is trained: a function that says which runs come of it."""

    def stand_in(reward=None, ppo=None):
        reward, ppo = reward or stand_in_run(), ppo or stand_in_run()
        monkeypatch.setattr(first_loop.wb, "train_reward", lambda *_, **__: reward)
        monkeypatch.setattr(first_loop.wb, "train_ppo", lambda *_, **__: ppo)
        monkeypatch.setattr(first_loop.wb, "sample_pairs", lambda run, prompts: prompts)
        monkeypatch.setattr(first_loop, "finished", lambda run: run)

    monkeypatch.setattr(first_loop.tempfile, "tempdir", str(tmp_path))
    return stand_in


def test_the_self_test_goes_through_its_parts_and_tells_their_numbers(stand_ins, tmp_path):
    stand_ins()
    findings = first_loop.first_loop()
    assert [(one.name, one.state) for one in findings] == [(f"self-test, {p}", "ok") for p in PARTS]
    assert "4 steps, loss 0.50" in findings[1].found
    assert "2 updates, first ratio 1.000000, KL 0.100 nats" in findings[2].found
    assert "2 of 2 prompts" in findings[3].found
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


@pytest.mark.parametrize(
    ("runs", "why"),
    [
        ({"reward": stand_in_run("failed")}, "the run is failed: out of memory"),
        ({"reward": stand_in_run(loss=float("nan"))}, "loss is nan in the last step"),
        ({"ppo": stand_in_run(**{"policy/first_ratio": 1.002})}, "is 1.002000 and must be 1"),
        ({"ppo": stand_in_run(**{"objective/kl": None})}, "objective/kl is None"),
    ],
)
def test_the_self_test_fails_by_a_run_that_failed_or_by_its_last_numbers(stand_ins, runs, why):
    stand_ins(**runs)
    (part,) = runs
    last = first_loop.first_loop()[-1]
    assert last.name == f"self-test, {'PPO' if part == 'ppo' else 'reward model'}"
    assert last.state == "failed" and why in last.found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_smallest_loop_runs_from_end_to_end(monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBENCH_LOCKS", str(tmp_path / "locks"))
    monkeypatch.setattr(first_loop.tempfile, "tempdir", str(tmp_path))
    findings = first_loop.first_loop()
    assert [(one.name, one.state) for one in findings] == [
        (f"self-test, {part}", "ok") for part in PARTS
    ]
    assert "first ratio 1.000000" in findings[2].found
    assert list(tmp_path.glob("workbench-self-test-*")) == []  # nothing is left behind

"""Several processes do what one does. What they made is made by together.py, once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from workbench.errors import ConfigError
from workbench.runs import RunFolder, several_processes
from workbench.training.checkpoint import load_checkpoint
from workbench.training.process_group import News, Team

from .conftest import TIMED

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("together")
    command = [sys.executable, str(Path(__file__).with_name("together.py")), str(home)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=290, env=env)
    logs = "".join(path.read_text()[-3000:] for path in home.glob("runs/*/log-*.txt"))
    assert done.returncode == 0, done.stderr[-3000:] + logs
    return home / "runs"


def numbers(folder: Path) -> list[dict[str, float]]:
    kept = ("time", *TIMED)
    return [
        {name: value for name, value in row.items() if not name.startswith(kept)}
        for row in RunFolder(folder).metrics()
    ]


@pytest.mark.parametrize("kind", ["reward", "dpo", "online_dpo", "ppo"])
def test_twenty_steps_of_two_processes_are_those_of_one(made, kind):
    """Stopped by the main process, killed and resumed on the way, and to 1e-8 the same."""
    one, two = numbers(made / f"{kind}-one"), numbers(made / f"{kind}-two")
    assert len(one) == len(two) == 20
    for mine, its in zip(one, two, strict=True):
        assert its == pytest.approx(mine, rel=1e-8, abs=1e-8)
    states = [RunFolder(made / f"{kind}-{name}").status()["state"] for name in ("one", "two")]
    assert states == ["finished", "finished"]


@pytest.mark.parametrize("kind", ["reward", "dpo", "online_dpo", "ppo"])
def test_the_weights_are_the_same_too(made, kind):
    from safetensors.torch import load_file

    files = [made / f"{kind}-{n}" / "final" / "adapter_model.safetensors" for n in ("one", "two")]
    one, two = map(load_file, files)
    assert set(one) == set(two)
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("kind", ["reward", "dpo", "online_dpo", "ppo"])
def test_a_steps_gradients_in_float32_are_the_same(made, kind):
    """AdamW's first moment after one step is a tenth of the gradient."""
    states = [load_checkpoint(made / f"{kind}-step{count}")[1] for count in (1, 2)]
    one, two = (state["optimiser"]["adamw"]["state"] for state in states)
    assert set(one) == set(two) and len(one) > 8
    for index in one:
        mine, its = one[index]["exp_avg"], two[index]["exp_avg"]
        assert float((mine - its).norm()) <= 1e-4 * float(mine.norm())


@pytest.mark.parametrize("kind", ["reward", "dpo", "online_dpo", "ppo"])
def test_the_main_process_alone_writes_and_is_steered(made, kind):
    folder = RunFolder(made / f"{kind}-two")
    assert [row["step"] for row in folder.metrics()] == list(range(1, 21))
    kinds = [row["kind"] for row in folder.events()]
    assert kinds.count("finished") == 1
    told = [m for row in folder.events() if (m := row.get("message") or "").startswith("memory")]
    # in the other process it ran out, and both halve: their next checkpoints say so
    assert told == ["memory ran out: micro_batch_tokens is 20 from here on (40 before)"]
    assert load_checkpoint(folder.path)[1]["micro_batch_tokens"] == 20
    assert not list(folder.path.rglob("*.tmp"))


def test_shares_are_a_partition_and_about_equal():
    items, sizes = list(range(7)), [5, 1, 9, 3, 9, 2, 7]
    parts = []
    for index in range(3):
        team = Team()
        team.index, team.count = index, 3
        parts.append(team.share(items, sizes))
    assert sorted(item for part in parts for item in part) == items
    assert [len(part) for part in parts] == [3, 2, 2]


def test_alone_nothing_is_shared_or_told():
    team, table = Team(), torch.ones(3)
    team.add(table)
    assert (team.share("abc", [3, 1, 2]), team.gather([1, 2])) == (["a", "b", "c"], [1, 2])
    assert (team.total({"a": 1.0}), team.told_by_main(5)) == ({"a": 1.0}, 5)
    assert team.agree(News.STOP) is News.STOP and team.main
    assert table.tolist() == [1.0, 1.0, 1.0]


# --- what accelerate launches --------------------------------------------------------------------


@pytest.fixture
def launched(monkeypatch):
    """As ``accelerate launch --num_processes 2 --cpu`` starts its one process."""
    calls = []
    for name in ("WORLD_SIZE", "RANK", "PMI_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setattr(several_processes.os, "execv", lambda path, command: calls.append(command))
    return calls


@pytest.mark.parametrize("said", [["--num_processes", "2"], ["--num-processes=2"]])
def test_the_other_cpu_processes_are_started(launched, said):
    several_processes.start_all(["reward", "--out", "x"], ["accelerate", "launch", *said, "--cpu"])
    (command,) = launched
    assert command[1:6] == [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    assert command[6:] == ["-m", "workbench", "reward", "--out", "x"]


def test_how_many_that_nobody_says_is_an_error(launched):
    with pytest.raises(ConfigError, match="one CPU process of several") as caught:
        several_processes.start_all([], ["accelerate", "launch", "--config_file", "c.yaml"])
    assert "--num_processes N" in caught.value.fix
    assert launched == []


def test_a_process_by_itself_and_one_of_several_stay_what_they_are(launched, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    several_processes.start_all([], [])
    assert several_processes.processes() == 2
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.delenv("MASTER_ADDR")
    several_processes.start_all([], [])
    assert launched == [] and several_processes.processes() == 1 and several_processes.is_main()

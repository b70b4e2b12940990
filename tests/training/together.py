"""Runs of two processes beside runs of one, each in its folder; started by test_team.py.

``python together.py HOME`` forks all processes from this one, which has the libraries loaded.
"""

import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from transformers.models.llama import modeling_llama

from tests.models.tiny import assistant, make_model, tiny_settings, user
from tests.training.conftest import make_adapter
from workbench import child
from workbench.runs import RunFolder, ask, attach_or_create
from workbench.settings import KINDS
from workbench.training import dpo

# loaded once, before the forks
from workbench.training.ppo import ppo  # noqa: F401
from workbench.training.ppo.mini_batches import ClippedSteps
from workbench.training.reward import members, reward  # noqa: F401

STEPS = 20


def exact_norm(self: Any, hidden: torch.Tensor) -> torch.Tensor:
    """transformers' norm without its detour over float32, whose rounding 1e-16 can tip."""
    scale = torch.rsqrt(hidden.square().mean(-1, keepdim=True) + self.variance_epsilon)
    return self.weight * (hidden * scale)


modeling_llama.LlamaRMSNorm.forward = exact_norm


def create(home: Path, kind: str, name: str, **changes: Any) -> RunFolder:
    """A run of the tiny model; nothing in it is a multiple of two."""
    few: dict[str, Any] = {"reward": {"batch_size": 5, "evaluate_every": 4, "holdout": 0.2}}
    watching = {"response_length": 8, "watch_every": 5, "watch_prompts": 3}
    few["dpo"] = {**few["reward"], **watching}
    few["online_dpo"] = {"batch_size": 5, **watching}
    few["ppo"] = {"batch_size": 7, "mini_batches": 2, **watching}
    same = {"steps": STEPS, "micro_batch_tokens": 40, "learning_rate": 1e-3, "dtype": "float64"}
    settings = tiny_settings(KINDS[kind], **{**same, **few[kind], **changes}).to_dict()
    words = "abcdefghijklmnop"
    rows: list[dict[str, Any]] = []
    for i, word in enumerate(words):
        row: dict[str, Any] = {"prompt": user(f"{word} " * (1 + i % 4))}
        if kind in ("reward", "dpo"):
            row |= {"chosen": assistant("good good"), "rejected": assistant("bad " * (1 + i % 3))}
        rows.append(row)
    inputs = {} if kind == "reward" else {"reward": str(home / "reward"), "judge": "none"}
    config = {"model": str(home / "tiny"), "inputs": inputs, "settings": settings}
    return attach_or_create(home / "runs", kind, name, config, rows).folder


def scarce(owner: Any, name: str, place: int) -> None:
    """The first time that several sequences go through at once, memory does not suffice."""
    real, failed = getattr(owner, name), list[int]()

    def call(*args: Any, **kwargs: Any) -> Any:
        if not failed and len(args[place]) > 1:
            failed.append(1)
            raise torch.OutOfMemoryError("injected")
        return real(*args, **kwargs)

    setattr(owner, name, call)


def fork(folder: RunFolder, rank: int, count: int, port: int) -> int:
    """One process of so many; its number. In the second of a fresh run memory runs out once."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        with (folder.path / f"log-{rank}.txt").open("ab", 0) as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        if count == 1:
            code = child.main([str(folder.path)])
        else:
            names = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "RANK": rank}
            names |= {"LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            os.environ.update({name: str(value) for name, value in names.items()})
            if rank == 1 and not folder.checkpoints():
                scarce(members.Member, "judge", 1)
                scarce(dpo.DirectTrainer, "_compare", 1)
                scarce(ClippedSteps, "_losses", 1)
            settings = KINDS[folder.config()["kind"]](device="cpu")
            code = child.run_together(lambda: folder, settings)
    finally:
        os._exit(code)


def launch(folder: RunFolder, count: int) -> list[int]:
    """Start all processes of a run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [fork(folder, rank, count, port) for rank in range(count)]


def end(pids: list[int], expected: int = 0) -> None:
    for pid in pids:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code == expected, f"process {pid} ended with {code}"


def until_step(folder: RunFolder, step: int) -> None:
    deadline = time.monotonic() + 240
    while len(folder.metrics()) < step:
        assert time.monotonic() < deadline, f"{folder.name} did not come to step {step}"
        time.sleep(0.05)


def main(home: Path) -> None:
    """Make everything that the tests look at."""
    make_model(home / "tiny")
    make_adapter(home / "reward", home / "tiny", 11, reward=True)
    os.environ["WORKBENCH_LOCKS"] = str(home / "locks")
    for kind in ("reward", "dpo", "online_dpo", "ppo"):
        end(launch(create(home, kind, f"{kind}-one"), 1))
        two = create(home, kind, f"{kind}-two", checkpoint_every=3)
        first = launch(two, 2)
        until_step(two, 2)
        ask(two, "stop")  # all stop within the same step
        end(first)
        second = launch(two, 2)
        until_step(two, 8)
        for pid in second:
            os.kill(pid, signal.SIGKILL)
        end(second, -signal.SIGKILL)
        end(launch(two, 2))
        for count in (1, 2):  # a single step in float32: its gradients are in the checkpoint
            few = {"steps": 1, "dtype": "float32", "checkpoint_every": 1}
            few |= {"epochs": 1, "mini_batches": 1} if kind == "ppo" else {}
            end(launch(create(home, kind, f"{kind}-step{count}", **few), count))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Training runs against sudden death: killed again and again, at any moment, and resumed.

``python tests/benchmarks/run_kills.py --kills 20`` prints one JSON object and exits with 1 where a
resumed run differs from one that was never killed: in a logged number (what the clock measures
excepted), in a sample, or in a byte of the final weights.

A run's process is ``workbench.child``, forked from one that has the libraries loaded already. It
is told beforehand at which moment to die (the n-th generation, forward pass, optimiser step,
line written, checkpoint …) and how long after its beginning; a thread of its own then sends it
SIGKILL.
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from record import PAGE, RESULTS, machine, record, tell

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import bitsandbytes  # noqa: F401  (loaded once, before the forks)

from tests.models.tiny import assistant, make_model, tiny_settings, user
from tests.training.conftest import TIMED, bytes_of, make_adapter
from workbench import child
from workbench.runs import FolderWriter, RunFolder, attach_or_create
from workbench.settings import KINDS
from workbench.training import checkpoint, dpo, optimiser, sampled_answers
from workbench.training.ppo import online_dpo, policy_loop
from workbench.training.reward import members

MANY = 20  # kills of each kind; a smaller number is a trial, and is not written down
SAVE_EVERY = 3  # steps
STEPS_A_KILL = 7
MOMENTS: dict[str, dict[str, tuple[Any, str]]] = {
    "reward": {
        "forward pass": (members.Member, "judge"),
        "held-out evaluation": (members.Member, "evaluate"),
        "optimiser step": (optimiser.Optimiser, "step"),
        "saving": (checkpoint.torch, "save"),
        "renaming a checkpoint": (checkpoint, "swap"),
        "writing a line": (FolderWriter, "_append"),
    },
    "dpo": {
        "forward pass": (dpo.DirectTrainer, "_compare"),
        "held-out evaluation": (dpo.DPOTrainer, "_evaluate"),
        "watched answers": (sampled_answers, "sample_responses"),
        "optimiser step": (optimiser.Optimiser, "step"),
        "saving": (checkpoint.torch, "save"),
        "writing a line": (FolderWriter, "_append"),
    },
    "online_dpo": {
        "generation": (sampled_answers, "sample_responses"),
        "scoring": (online_dpo, "scored_answers"),
        "forward pass": (dpo.DirectTrainer, "_compare"),
        "optimiser step": (optimiser.Optimiser, "step"),
        "saving": (checkpoint.torch, "save"),
        "writing a line": (FolderWriter, "_append"),
    },
    "ppo": {
        "generation": (sampled_answers, "sample_responses"),
        "scoring": (policy_loop, "measure"),
        "mid-epoch": (optimiser.Optimiser, "step"),
        "saving": (checkpoint.torch, "save"),
        "renaming a checkpoint": (checkpoint, "swap"),
        "writing a line": (FolderWriter, "_append"),
    },
}
OFTEN = {"forward pass": 20, "optimiser step": 6, "mid-epoch": 24, "writing a line": 8}


class Death(NamedTuple):
    """When a process dies: so many seconds after the n-th time that it comes to a moment."""

    moment: str
    times: int
    delay: float


def draw_death(names: list[str], number: int, draw: random.Random) -> Death:
    """Each moment in turn; how often it is reached before, and the delay, by lot."""
    moment = names[number % len(names)]
    most = OFTEN.get(moment, 2 if "heckpoint" in moment or moment == "saving" else 6)
    return Death(moment, draw.randint(1, most), draw.choice([0.0, draw.uniform(0.0, 0.02)]))


def work(folder: str, kind: str, death: Death | None) -> None:
    """What a process does: train in the folder until it is done, or dies."""
    if death is not None:
        _arm(*MOMENTS[kind][death.moment], death)
    with (Path(folder) / "log.txt").open("ab", 0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os._exit(child.main([folder]))


def _arm(owner: Any, name: str, death: Death) -> None:
    """Have this process die within its moment, or (no delay) right after it."""
    real: Callable[..., Any] = getattr(owner, name)
    reached = 0

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal reached
        reached += 1
        if reached == death.times and death.delay:
            threading.Thread(target=_die, args=(death.delay,), daemon=True).start()
        found = real(*args, **kwargs)
        if reached == death.times and not death.delay:
            _die(0.0)
        return found

    setattr(owner, name, call)


def _die(delay: float) -> None:
    time.sleep(delay)
    os.kill(os.getpid(), signal.SIGKILL)


def create(root: Path, kind: str, name: str, model: Path, reward: Path, kills: int) -> RunFolder:
    """A run of the tiny model, long enough to be killed so often."""
    steps = {"steps": max(8, STEPS_A_KILL * kills), "checkpoint_every": SAVE_EVERY}
    few: dict[str, Any] = {"reward": {"batch_size": 4, "evaluate_every": 2, "holdout": 0.25}}
    watching = {"response_length": 8, "watch_every": 3, "watch_prompts": 2}
    few["dpo"] = {**few["reward"], **watching}
    few["online_dpo"] = {"batch_size": 4, **watching}
    few["ppo"] = {"batch_size": 8, **watching}
    settings = tiny_settings(
        KINDS[kind], quantization="nf4", micro_batch_tokens=40, **steps, **few[kind]
    ).to_dict()
    words = "abcdefghijklmnop"
    rows: list[dict[str, Any]] = [{"prompt": user(f"{a} {b}")} for a, b in pairwise(words)]
    if kind in ("reward", "dpo"):
        sides = {"chosen": assistant("good good"), "rejected": assistant("bad a")}
        rows = [{**row, **sides} for row in rows]
    inputs = {} if kind == "reward" else {"reward": str(reward), "judge": "none"}
    config = {"model": str(model), "inputs": inputs, "settings": settings}
    return attach_or_create(root, kind, name, config, rows).folder


def differences(one: RunFolder, other: RunFolder) -> list[str]:
    """In what two runs differ that should not."""

    def numbers(folder: RunFolder) -> list[dict[str, Any]]:
        kept = ("time", *TIMED)
        return [
            {name: value for name, value in row.items() if not name.startswith(kept)}
            for row in folder.metrics()
        ]

    parts = {
        "logged numbers": (numbers(one), numbers(other)),
        "samples": (one.samples(), other.samples()),
        "final weights": (bytes_of(one.final), bytes_of(other.final)),
        "states": (one.written_status()["state"], other.written_status()["state"]),
    }
    empty = not (one.metrics() and bytes_of(one.final))
    return [name for name, (mine, its) in parts.items() if mine != its or empty]


def kills(
    kind: str, count: int, home: Path, model: Path, reward: Path, seed: int
) -> dict[str, Any]:
    """Kill a run ``count`` times, let it end, and compare it with one that was left alone."""
    context = multiprocessing.get_context("forkserver")
    draw = random.Random(f"{kind} {seed}")

    def train(folder: RunFolder, death: Death | None) -> int:
        process = context.Process(target=work, args=(str(folder.path), kind, death))
        process.start()
        process.join()
        assert process.exitcode is not None
        return process.exitcode

    killed, alone = (
        create(home, kind, f"{kind}-{name}", model, reward, count) for name in ("killed", "alone")
    )
    names = list(MOMENTS[kind])
    draw.shuffle(names)
    died: Counter[str] = Counter()
    failed = False
    while died.total() < count:
        death = draw_death(names, died.total(), draw)
        code = train(killed, death)
        if code != -signal.SIGKILL:  # it failed; or it came to its end first: too few kills
            failed = code != 0
            break
        died[death.moment] += 1
    well = train(killed, None) == 0 and train(alone, None) == 0 and not failed
    return {
        "kills": died.total(),
        "moments": dict(died),
        "steps": len(alone.metrics()),
        "different": differences(killed, alone) if well else ["a process failed"],
    }


def measured(count: int, seed: int) -> dict[str, Any]:
    """Each kind of run; one that was killed must equal one that was not."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([Path(__file__).stem])
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        os.environ["WORKBENCH_LOCKS"] = str(home / "locks")
        here = Path(__file__).resolve()  # the forkserver finds there what it loads beforehand
        paths = [str(here.parent), str(here.parents[2]), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
        model = make_model(home / "tiny")
        reward = make_adapter(home / "reward", model, 11, reward=True)
        return {kind: kills(kind, count, home / "runs", model, reward, seed) for kind in MOMENTS}


def table(figures: dict[str, Any]) -> str:
    """The figures in Markdown."""
    lines = [
        "| a run, killed by SIGKILL | kills | steps | differs afterwards in |",
        "|---|---|---|---|",
    ]
    for kind, found in figures.items():
        if kind == "about":
            continue
        where = ", ".join(f"{name} {times}" for name, times in found["moments"].items())
        lines.append(
            f"| {kind}: {where} | {found['kills']} | {found['steps']} | "
            f"{', '.join(found['different']) or 'nothing'} |"
        )
    about = figures["about"]
    lines += [
        "",
        "Compared with a run that was left alone: every logged number (times excepted), every "
        "sample, every byte of the final weights. "
        f"Machine: {about['machine']}, Python {about['python']}; commit {about['commit']}, "
        f"{about['date']}. Written by `make soak`.",
    ]
    return "\n".join(lines)


def keep(found: dict[str, Any], results: Path = RESULTS, page: Path = PAGE) -> None:
    """Put the figures beside those of other benchmarks, and the table into RESULTS.md."""
    figures = {**found, "about": machine()}
    record({"run_kills": figures}, results)
    tell("run_kills", table(figures), page)


def main() -> int:
    """Run it; 1 where a resumed run is another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=MANY, help="of each kind of run")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    found = measured(asked.kills, asked.seed)
    print(json.dumps(found))
    if asked.kills >= MANY:
        keep(found)
    whole = all(one["kills"] == asked.kills for one in found.values())
    return int(not whole or any(one["different"] for one in found.values()))


if __name__ == "__main__":
    sys.exit(main())

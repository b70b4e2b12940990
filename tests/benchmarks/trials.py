"""Many trials, one after the other, in a process of their own that may hang, die or be killed."""

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

PATIENCE = 25.0
"""Seconds that one trial may take, less those in which others had the processor that it wanted."""


def answers(pipe: Any, pid: int, patience: float = PATIENCE) -> bool:
    """Whether a process says something before one's patience is at its end."""
    began, waited = time.monotonic(), _queued(pid)
    while not pipe.poll(0.5):
        if time.monotonic() - began - (_queued(pid) - waited) > patience:
            return False
    return True


def _queued(pid: int) -> float:
    """Seconds for which a process was ready to run and had no processor; 0 where none can say."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def outcomes(
    try_one: Callable[[Any], str],
    trials: Iterable[tuple[str, Any]],
    *,
    sound: tuple[Any, str],
    fine: tuple[str, ...],
    amiss: tuple[str, ...],
) -> dict[str, Any]:
    """Try each, and count what became of it.

    Args:
        try_one: what is done in the other process: an importable function of a trial's value.
        trials: label and value of each; taken one by one.
        sound: a value that each new process begins with, so that all is imported then, and what
            must become of it.
        fine: the outcomes that are no faults.
        amiss: first words of faults that are counted by themselves; ``hung`` is one of them.

    Returns:
        The count of each of these, ``raw``, the count of all other faults, and ``faults``: a line
        for each.
    """
    context = multiprocessing.get_context("spawn")
    counts: Counter[str] = Counter()
    faults: list[str] = []
    child = pipe = None
    for label, value in trials:
        if child is None or pipe is None or not child.is_alive():
            pipe, other = context.Pipe()
            child = context.Process(target=_worker, args=(other, try_one), daemon=True)
            child.start()
            pipe.send(sound[0])
            assert pipe.recv() == sound[1]
        began = time.monotonic()
        pipe.send(value)
        outcome = "hung"
        if answers(pipe, child.pid or 0):
            try:
                outcome = pipe.recv()
            except EOFError:
                outcome = "raw end of its process"
        else:
            child.kill()
            child.join()
        if outcome in fine:
            counts[outcome] += 1
            continue
        word = outcome.split()[0]
        counts[word if word in amiss else "raw"] += 1
        faults.append(f"{label}: {outcome} ({time.monotonic() - began:.0f} s)")
        print(faults[-1], flush=True)
    if pipe is not None and child is not None and child.is_alive():
        pipe.send(None)
    return {name: counts[name] for name in (*fine, *amiss, "raw")} | {"faults": faults}


def _worker(pipe: Any, try_one: Callable[[Any], str]) -> None:
    while (value := pipe.recv()) is not None:
        pipe.send(try_one(value))

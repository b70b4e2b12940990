"""Checkpoints that are complete or absent: written aside, synced, then renamed."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from workbench.errors import RunError

FULL = (errno.ENOSPC, errno.EDQUOT)
"""No space on the disk, or none left in one's quota."""


def save_checkpoint(
    folder: Path, step: int, state: dict[str, Any], *, lengths: dict[str, int], keep: int
) -> Path:
    """Write ``checkpoints/step-N`` and drop all but the newest ``keep``.

    Args:
        folder: the run folder.
        step: steps that are done.
        state: tensors and plain values; what :func:`load_checkpoint` gives back.
        lengths: bytes of each of the run's files at this step.
        keep: how many checkpoints stay.

    Raises:
        RunError: it cannot be written; those before are whole.
    """
    home = folder / "checkpoints"
    target, aside = home / f"step-{step}", home / f".step-{step}.tmp"
    try:
        home.mkdir(exist_ok=True, parents=True)
        _tidy(home)
        aside.mkdir()
        with (aside / "state.pt").open("wb") as file:
            torch.save(state, file)
            _sync(file.fileno())
        with (aside / "lengths.json").open("w") as file:
            json.dump({"step": step, **lengths}, file)
            file.flush()
            _sync(file.fileno())
        swap(aside, target)
    except (OSError, RuntimeError) as error:  # torch's zip writer says RuntimeError
        shutil.rmtree(aside, ignore_errors=True)  # and its room is free again
        raise _no_room(error, target) from error
    for old, path in checkpoints(folder)[:-keep]:
        if old != step:
            _remove(path)
    return target


def swap(aside: Path, target: Path) -> None:
    """Put a complete folder in the place of another, which is there or not.

    Whoever dies between the two steps leaves the old one as ``.NAME.old``: :func:`checkpoints`
    finds it there.
    """
    old = target.with_name(f".{target.name}.old")
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(target, old)
    os.replace(aside, target)
    shutil.rmtree(old, ignore_errors=True)
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    os.fsync(descriptor)


def _remove(path: Path) -> None:
    """Out of sight first: what is half removed must not look like a checkpoint."""
    gone = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(gone, ignore_errors=True)
    os.replace(path, gone)
    shutil.rmtree(gone, ignore_errors=True)


def _tidy(home: Path) -> None:
    """Remove what an interrupted save left, and an old one whose new one is there."""
    for path in home.glob(".step-*"):
        newer = home / path.name.removeprefix(".").removesuffix(".old")
        if path.suffix == ".tmp" or newer.exists():
            shutil.rmtree(path, ignore_errors=True)


def _no_room(error: Exception, target: Path) -> RunError:
    why = "the disk is full" if getattr(error, "errno", None) in FULL else str(error)
    return RunError(
        f"the checkpoint cannot be written: {why.splitlines()[0]}",
        where=str(target),
        fix="make room on the disk and resume: the run goes on from the checkpoint before, which "
        "is whole",
    )


def checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Complete checkpoints, oldest first."""
    home = folder / "checkpoints"
    complete: dict[int, Path] = {}
    for path in (*home.glob(".step-*.old"), *home.glob("step-*")):
        if (path / "lengths.json").is_file():
            number = path.name.removeprefix(".").removesuffix(".old").removeprefix("step-")
            complete[int(number)] = path
    return sorted(complete.items())


def load_checkpoint(folder: Path) -> tuple[int, dict[str, Any]] | None:
    """The newest checkpoint's step and state, or None where there is none.

    Raises:
        RunError: the newest checkpoint cannot be read.
    """
    complete = checkpoints(folder)
    if not complete:
        return None
    step, path = complete[-1]
    try:
        return step, torch.load(path / "state.pt", map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError) as error:
        raise RunError(
            f"the checkpoint cannot be read ({type(error).__name__})",
            where=str(path),
            fix="delete that folder and resume: the run goes on from the one before",
        ) from error


def replace_folder(target: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a folder aside, then put it in the place of ``target``."""
    aside = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    write(aside)
    swap(aside, target)

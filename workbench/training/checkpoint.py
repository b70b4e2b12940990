"""Checkpoints that are complete or absent: written aside, synced, then renamed."""

import json
import os
import re
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch

from workbench.errors import RunError, first_line, is_disk_full
from workbench.json_lines import read_json

STATE, LENGTHS = "state.pt", "lengths.json"
CHECKSUM = "state_crc32"  # in lengths.json; a checkpoint from before there were any has none
_NAME = re.compile(r"step-(0|[1-9][0-9]{0,11})")


class Newest(NamedTuple):
    """The checkpoint that a run goes on from.

    Attributes:
        step: steps that are done.
        path: its folder.
        lengths: bytes of each of the run's files at this step.
        checksum: of its state, in CRC-32; None where none was kept.
    """

    step: int
    path: Path
    lengths: dict[str, int]
    checksum: int | None = None


class UnusableCheckpointError(RunError):
    """A checkpoint that a run cannot go on from; ``where`` is its folder."""


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
        with (aside / STATE).open("wb") as file:
            torch.save(state, file)
            _sync(file.fileno())
        with (aside / LENGTHS).open("w") as file:
            json.dump({"step": step, CHECKSUM: _checksum(aside / STATE), **lengths}, file)
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
    why = "the disk is full" if is_disk_full(error) else first_line(error)
    return RunError(
        f"the checkpoint cannot be written: {why}",
        where=str(target),
        fix="make room on the disk and resume: the run goes on from the checkpoint before, which "
        "is whole",
    )


def checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Complete checkpoints, oldest first; folders of other names are none."""
    home = folder / "checkpoints"
    complete: dict[int, Path] = {}
    for path in (*home.glob(".step-*.old"), *home.glob("step-*")):
        named = _NAME.fullmatch(path.name.removeprefix(".").removesuffix(".old"))
        if named is not None and (path / LENGTHS).is_file():
            complete[int(named[1])] = path
    return sorted(complete.items())


def newest_checkpoint(folder: Path) -> Newest | None:
    """The checkpoint to go on from; None where there is none.

    Raises:
        UnusableCheckpointError: something there is no checkpoint, or the newest is damaged; it says
            which folder to delete, so that the run goes on from the one before.
    """
    home = folder / "checkpoints"
    for path in sorted(home.glob("step-*")):
        if _NAME.fullmatch(path.name) is None:
            raise unusable(path, "its name tells no step")
        if not path.is_dir():
            raise unusable(path, "it is no folder")
        if not (path / LENGTHS).is_file():  # a checkpoint is renamed into place when it is whole
            raise unusable(path, f"{LENGTHS} is missing")
    complete = checkpoints(folder)
    if not complete:
        return None
    step, path = complete[-1]
    lengths: Any = read_json(path / LENGTHS)
    if lengths is None:
        raise unusable(path, f"{LENGTHS} is damaged")
    if any(type(value) is not int or value < 0 for value in lengths.values()):
        raise unusable(path, f"{LENGTHS} tells lengths that are none")
    if lengths.pop("step", step) != step:
        raise unusable(path, f"{LENGTHS} is of another step")
    return Newest(step, path, lengths, lengths.pop(CHECKSUM, None))


def load_checkpoint(folder: Path) -> tuple[int, dict[str, Any]] | None:
    """The newest checkpoint's step and state, or None where there is none.

    Raises:
        UnusableCheckpointError: as :func:`newest_checkpoint`, or its state cannot be read.
    """
    newest = newest_checkpoint(folder)
    return None if newest is None else (newest.step, _state(newest, mapped=False))


def _state(newest: Newest, *, mapped: bool) -> dict[str, Any]:
    """What a checkpoint holds; ``mapped`` leaves the tensors on disk."""
    file = newest.path / STATE
    if not file.is_file():
        raise unusable(newest.path, f"{STATE} is missing")
    try:
        if newest.checksum not in (None, _checksum(file)):
            raise unusable(newest.path, f"{STATE} is not as it was written")
        state: Any = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except UnusableCheckpointError:
        raise
    except Exception as error:  # whatever is in there: torch raises a dozen kinds
        raise unusable(newest.path, type(error).__name__) from error
    if not isinstance(state, dict):
        raise unusable(newest.path, f"{STATE} holds a {type(state).__name__}")
    return cast("dict[str, Any]", state)


def _checksum(file: Path) -> int:
    """CRC-32 of a file; torch's own reader checks none."""
    sum_so_far = 0
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            sum_so_far = zlib.crc32(block, sum_so_far)
    return sum_so_far


def set_unusable_aside(folder: Path) -> list[str]:
    """Put checkpoints aside until the newest is sound; what was wrong with each, in words.

    Raises:
        UnusableCheckpointError: the last one is no sound one either.
    """
    warnings: list[str] = []
    while True:
        try:
            newest = newest_checkpoint(folder)
            if newest is not None:
                _state(newest, mapped=True)
            return warnings
        except UnusableCheckpointError as error:
            warnings.append(set_aside(folder, error))


def set_aside(folder: Path, error: UnusableCheckpointError) -> str:
    """Rename an unusable checkpoint, so that the one before it is the newest; says so in words.

    Raises:
        UnusableCheckpointError: ``error``, where there is none before it: the run would start over.
    """
    path = Path(error.where)
    older = [step for step, other in checkpoints(folder) if other != path]
    if not older:
        raise error
    home, number = path.parent, 1
    while os.path.lexists(aside := home / f"unusable-{number}-{path.name.lstrip('.')[:200]}"):
        number += 1
    os.replace(path, aside)
    return (
        f"{path.name[:50]}: {error.what}; it lies in checkpoints/{aside.name[:70]} now, and the "
        f"run goes on from the checkpoint before, of step {older[-1]}"
    )


def unusable(path: Path, why: str) -> UnusableCheckpointError:
    """The error for a checkpoint that a run cannot go on from."""
    return UnusableCheckpointError(
        f"the checkpoint cannot be read ({why})",
        where=str(path),
        fix="delete that folder and resume: the run goes on from the one before, or starts over "
        "where there is none",
    )


def replace_folder(target: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a folder aside, then put it in the place of ``target``."""
    aside = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    write(aside)
    swap(aside, target)

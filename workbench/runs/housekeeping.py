"""What is written beside runs that are there, a note, tags, an evaluation; and their deletion.

Each lies in a file of its own in the run's folder. A deleted run is put aside into a hidden
folder beside where it was, which names its process, and is gone for good when that process ends;
what a killed process left is taken away at the next deletion there.
"""

import atexit
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from workbench.errors import ConfigError, RunError
from workbench.json_lines import read_json, write_json
from workbench.runs import process
from workbench.runs.file_rules import MOST_CONFIG
from workbench.runs.folder import LIVE, RunFolder

ASIDE = ".deleted-"
NOTE, EVALUATION = "note.json", "evaluation.json"
LONGEST_NOTE, LONGEST_TAG, MOST_TAGS = 2_000, 40, 20  # characters, characters, tags


class RunNote(NamedTuple):
    """A run's note, and its tags in their order."""

    note: str = ""
    tags: tuple[str, ...] = ()


def read_note(folder: Path) -> RunNote:
    """What was written beside a run; nothing where the file holds something else."""
    values = read_json(folder / NOTE, MOST_CONFIG) or {}
    note, tags = values.get("note"), values.get("tags")
    words = cast("list[Any]", tags) if isinstance(tags, list) else []
    texts = (word[:LONGEST_TAG] for word in words if isinstance(word, str))
    text = note[:LONGEST_NOTE] if isinstance(note, str) else ""
    return RunNote(text, tuple(texts)[:MOST_TAGS])


def write_note(
    folder: Path, note: str | None = None, tags: str | Sequence[str] | None = None
) -> RunNote:
    """Write a note or tags beside a run; what is None stays.

    Args:
        folder: the run's folder.
        note: a text of at most :data:`LONGEST_NOTE` characters; "" takes it away.
        tags: words, or one text with commas between them; none take them away.

    Raises:
        ConfigError: one of them is too long, or there are too many tags.
        RunError: the folder cannot be written.
    """
    before = read_note(folder)
    text = before.note if note is None else note.strip()
    words = tags.split(",") if isinstance(tags, str) else tags
    kept = before.tags if words is None else tuple(dict.fromkeys(w.strip() for w in words))
    new = RunNote(text, tuple(word for word in kept if word))
    fits = len(new.note) <= LONGEST_NOTE and len(new.tags) <= MOST_TAGS
    if not fits or any(len(word) > LONGEST_TAG for word in new.tags):
        raise ConfigError(
            "that is too long for a note or for tags",
            where=os.fspath(folder / NOTE),
            fix=f"a note has at most {LONGEST_NOTE:,} characters; there are at most {MOST_TAGS} "
            f"tags of {LONGEST_TAG} characters",
        )
    try:
        write_json(folder / NOTE, new._asdict())
    except OSError as error:
        raise RunError(
            f"the note cannot be written: {error.strerror or error}",
            where=os.fspath(folder / NOTE),
            fix="notes are kept in the run's folder; copy the run to a place that you may write to",
        ) from error
    return new


def keep_evaluation(folder: RunFolder, data: str, values: Mapping[str, Any]) -> Path:
    """Write an evaluation into a run's folder, and return the file.

    It holds one evaluation for each set of data, the latest last; the same data again replace
    their own.

    Args:
        folder: the run.
        data: a short name of the data, the same for the same rows.
        values: what was found, as JSON values.
    """
    path = folder.path / EVALUATION
    kept = {name: old for name, old in (read_json(path) or {}).items() if name != data}
    write_json(path, {**kept, data: dict(values)})
    return path


class DeletedRun(NamedTuple):
    """A run that can be had back: where it was, and where it lies now."""

    path: Path
    aside: Path


_deleted: list[DeletedRun] = []


def deleted_runs(root: Path | None = None) -> list[DeletedRun]:
    """What this process deleted below a root and can give back, oldest first."""
    _deleted[:] = [one for one in _deleted if os.path.lexists(one.aside)]
    return [one for one in _deleted if root is None or one.path.is_relative_to(root)]


def delete_run(folder: RunFolder) -> DeletedRun:
    """Take a run out of all tables; :func:`restore_run` brings it back until this process ends.

    Raises:
        RunError: it is live, or its folder cannot be moved.
    """
    if folder.status()["state"] in LIVE:
        raise RunError(
            f"{folder.name} is live and cannot be deleted",
            where=str(folder.path),
            fix=f"stop it first: wb.open_run({folder.name!r}).stop(wait=True)",
        )
    _sweep(folder.path.parent)
    place = folder.path.with_name(f"{ASIDE}{os.getpid()}-{uuid.uuid4().hex[:8]}")
    one = DeletedRun(folder.path, place / folder.name)
    try:
        place.mkdir(mode=0o700)
        process.new_record(place, os.getpid()).write(place)
        folder.path.rename(one.aside)
    except OSError as error:
        shutil.rmtree(place, ignore_errors=True)
        raise RunError(
            f"{folder.name} cannot be deleted: {error.strerror or error}",
            where=str(folder.path),
            fix="see that you may write to the folder that it lies in",
        ) from error
    if not _deleted:
        atexit.register(_end, os.getpid())
    _deleted.append(one)
    return one


def restore_run(path: str | Path) -> RunFolder:
    """Bring a run back that this process deleted.

    Args:
        path: where it was.

    Raises:
        RunError: it was not deleted here, or there is another of its name by now.
    """
    place = Path(path)
    known = [one for one in deleted_runs() if one.path == place]
    if not known:
        names = ", ".join(one.path.name for one in deleted_runs()) or "none"
        raise RunError(
            f"{place.name} was not deleted here, or is gone for good",
            where=str(place),
            fix=f"what can be had back until this kernel ends: {names}",
        )
    if os.path.lexists(place):
        raise RunError(
            f"there is another run called {place.name} by now",
            where=str(place),
            fix="move that one away first",
        )
    known[-1].aside.rename(place)
    _deleted.remove(known[-1])
    shutil.rmtree(known[-1].aside.parent, ignore_errors=True)
    return RunFolder(place)


def _sweep(place: Path) -> None:
    """Take away for good what processes that are gone have deleted here."""
    for aside in place.glob(f"{ASIDE}*"):
        record = process.read_record(aside)
        ours = record is not None and record.machine == process.machine()
        if ours and not RunFolder(aside).process_alive():
            shutil.rmtree(aside, ignore_errors=True)


def _end(pid: int) -> None:
    if os.getpid() == pid:  # a fork of this process has deleted nothing
        for one in _deleted:
            shutil.rmtree(one.aside.parent, ignore_errors=True)

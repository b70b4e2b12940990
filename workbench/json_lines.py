"""JSON as text and on disk: lines read while others write them, files that are whole or not there.

One encoder writes all of it: NaN and infinities become null, arrays lists, unknown objects text.
"""

import fcntl
import gzip
import hashlib
import json
import math
import os
import re
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from workbench.errors import disk_watched

AT_ONCE = 200  # lines parsed in one call, for which no other thread of the process can run
_LEVEL = 6  # of gzip: the usual trade of size and time, written here so that bytes never change
_SURROGATE = re.compile("[\ud800-\udfff]")


class Lines(NamedTuple):
    """Whole lines read from a file, and where to read on."""

    rows: list[dict[str, Any]]
    offset: int


class Fresh(NamedTuple):
    """Rows since the last look; ``reset`` says that the file was cut and starts again."""

    rows: list[dict[str, Any]]
    reset: bool


def clean(value: Any) -> Any:
    """Plain JSON values: NaN and infinities None, dates ISO 8601, paths and the rest their text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {str(key): clean(item) for key, item in items}
    if isinstance(value, set | frozenset):
        value = sorted(cast("set[Any]", value), key=str)
    if isinstance(value, list | tuple):
        return [clean(item) for item in cast("list[Any]", value)]
    for method in ("tolist", "isoformat"):  # numpy's and torch's; dates'
        if callable(plain := getattr(value, method, None)):
            return clean(plain())
    return str(value)


_ENCODER = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=clean
)


def _text(value: Any) -> str:
    try:
        return _ENCODER.encode(value)
    except ValueError:  # NaN or infinity, which JSON does not know
        return _ENCODER.encode(clean(value))


def dumps(value: Any) -> str:
    """Return ``value`` as one line of strict JSON that any store can hold.

    Lone surrogates, which neither UTF-8 nor SQLite nor Arrow can hold, are written as escapes.

    Raises:
        TypeError: a key is of a kind that JSON does not know, such as a tuple.
    """
    return storable(_text(value))


def storable(text: str) -> str:
    """Return JSON text with its lone surrogates written as escapes."""
    if text.isascii() or not _SURROGATE.search(text):
        return text
    return _SURROGATE.sub(lambda surrogate: f"\\u{ord(surrogate.group()):04x}", text)


def encode(row: Any) -> bytes:
    """A row of a run folder as one line of bytes, its newline included; whatever was given.

    A lone surrogate becomes "?" here, and no escape as in :func:`dumps`: a run's name is the hash
    of these bytes, so that they stay as they always were.
    """
    try:
        text = _text(row)
    except TypeError:  # a key that JSON does not know: its text
        text = _text(clean(row))
    return text.encode("utf-8", "replace") + b"\n"


class HashedLines:
    """An open file that takes JSON values, one a line, and counts and hashes what it took."""

    def __init__(self, file: IO[bytes], line_of: Callable[[Any], bytes]) -> None:
        self._file, self._line_of = file, line_of
        self._hash = hashlib.sha256()
        self.rows = 0

    def add(self, value: Any) -> None:
        """Write one value as a line."""
        line = self._line_of(value)
        self._hash.update(line)
        self._file.write(line)
        self.rows += 1

    @property
    def sha256(self) -> str:
        """The hash of all lines so far, before any packing."""
        return self._hash.hexdigest()


@contextmanager
def new_lines(
    path: Path, line_of: Callable[[Any], bytes] = lambda value: (dumps(value) + "\n").encode()
) -> Generator[HashedLines]:
    """Open a file of JSON lines, gzipped where its name ends in .gz; the same lines, same bytes.

    It appears whole and safely on disk, as :func:`replacing` says.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        if path.suffix == ".gz":
            with gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed:  # no name and no time
                yield HashedLines(cast("IO[bytes]", packed), line_of)
        else:
            yield HashedLines(file, line_of)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def replacing(path: Path) -> Generator[IO[bytes]]:
    """Open a file beside ``path``, which takes its place once it is whole.

    A reader sees the old file or the new one, never half; after an error the old one stays.

    Raises:
        DiskFullError: there is no room for it.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with disk_watched(path), aside.open("wb") as file:
            yield file
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file in one step, as :func:`replacing` does, with an indent to read it by."""
    text = json.dumps(clean(value), ensure_ascii=False, indent=1)
    with replacing(path) as file:
        file.write(text.encode("utf-8", "replace") + b"\n")


def overwrite_json(path: Path, value: Any) -> None:
    """Write over a JSON file in its own place, which a full disk still has room for.

    A reader may see it half written; :func:`write_json` is for all other times.
    """
    text = json.dumps(clean(value), ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    with path.open("r+b", buffering=0) as file:
        file.write(text.ljust(os.fstat(file.fileno()).st_size))  # blanks at its end are no harm


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is no file, or no object in it."""
    try:
        value: Any = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):  # the last: nested too deeply
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def read_lines(path: Path, offset: int = 0, end: int | None = None) -> Lines:
    """Rows from ``offset`` to the last whole line before ``end``; damaged lines are left out.

    Args:
        path: a JSONL file; one that does not exist yet has no rows.
        offset: where to begin [bytes]; past the end (the file was cut), reading starts again at 0.
        end: where to stop [bytes]; None reads all there is.
    """
    lines, offset = _whole_lines(path, offset, end)
    return Lines(parse(lines), offset)


def _whole_lines(path: Path, offset: int, end: int | None = None) -> tuple[list[bytes], int]:
    try:
        with path.open("rb") as file:
            if offset > os.fstat(file.fileno()).st_size:
                offset = 0
            file.seek(offset)
            block = file.read(-1 if end is None else max(0, end - offset))
    except FileNotFoundError:
        return [], 0
    block = block[: block.rfind(b"\n") + 1]
    return block.splitlines(), offset + len(block)


def parse(lines: list[bytes]) -> list[dict[str, Any]]:
    """The rows in whole lines; damaged lines are left out."""
    return [row for rows in stretches(lines) for row in rows]


def stretches(lines: list[bytes]) -> Iterator[list[dict[str, Any]]]:
    """The same, some lines at a time: of a long file no more is held, and others get their turn."""
    for start in range(0, len(lines), AT_ONCE):
        part = lines[start : start + AT_ONCE]
        rows = _whole(part)
        yield [row for line in part if (row := _row(line)) is not None] if rows is None else rows


def _whole(lines: list[bytes]) -> list[dict[str, Any]] | None:
    """All lines at once, at half the cost; None where one of them is damaged."""
    if not all(line.startswith(b"{") and line.endswith(b"}") for line in lines):
        return None
    try:
        rows: list[Any] = json.loads(b"[" + b",".join(lines) + b"]")
    except (ValueError, RecursionError):
        return None
    return rows if len(rows) == len(lines) else None


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        value: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def append_line(path: Path, row: Mapping[str, Any]) -> None:
    """Append one row to a file that several processes write; mends a half-written last line."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with disk_watched(path):
            os.write(descriptor, (b"" if ends_whole(descriptor) else b"\n") + encode(row))
    finally:
        os.close(descriptor)


def ends_whole(descriptor: int) -> bool:
    """Whether an open file is empty or ends with a newline."""
    size = os.fstat(descriptor).st_size
    return size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"


class Follower:
    """Reads on in a JSONL file that grows, and notices when a resumed run has cut it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._inode: int | None = None

    def read(self) -> Fresh:
        """The rows since the last call; after a cut all rows again, with ``reset`` true."""
        lines, cut = self.read_lines()
        return Fresh(parse(lines), cut)

    def read_lines(self) -> tuple[list[bytes], bool]:
        """The same, for who parses later."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return [], False
        cut = self._inode not in (None, status.st_ino) or status.st_size < self._offset
        self._inode = status.st_ino
        lines, self._offset = _whole_lines(self.path, 0 if cut else self._offset)
        return lines, cut

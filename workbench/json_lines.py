"""JSON as text and on disk: lines read while others write them, files that are whole or not there.

One encoder writes all of it: NaN and infinities become null, arrays lists, unknown objects text.
"""

import errno
import fcntl
import gzip
import hashlib
import json
import math
import os
import re
import stat
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from workbench.errors import DataError, disk_watched

DEEPEST = 64
"""Lists and objects within each other; what is nested deeper counts as damaged."""
LONGEST_LINE = 32 << 20
"""Bytes of one line; a longer one counts as damaged and is never held."""
MOST_BYTES = 1 << 29
"""Bytes of one file of lines that are read; what comes after them is not."""
BLOCK = 1 << 20  # bytes of a file of lines that are read at once
_OVERLONG = b"?"  # stands for a line that was too long: it is damaged, and is counted as that
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
        aside.unlink(missing_ok=True)
        with disk_watched(path), aside.open("xb") as file:  # never through a link put there
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


def open_plain(path: Path) -> IO[bytes]:
    """Open a file to read; it never waits, as opening a FIFO would.

    Raises:
        OSError: there is no such file, it may not be read, or it is a FIFO, a device or a folder.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no plain file", str(path))
    return os.fdopen(descriptor, "rb")


def load_json(path: Path, most: int | None = None) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: the file.
        most: its most bytes; None takes any.

    Raises:
        DataError: it cannot be read, is larger, or holds no object; says which.
    """
    try:
        with open_plain(path) as file:
            text = file.read(-1 if most is None else most + 1)
    except OSError as error:
        raise _no_object(path, f"cannot be read: {error.strerror or error}") from error
    if most is not None and len(text) > most:
        raise _no_object(path, f"has more than {most:,} bytes")
    try:
        value: Any = json.loads(text.decode("utf-8-sig"))
        shallow = is_shallow(value)
    except UnicodeDecodeError as error:
        raise _no_object(path, "is not UTF-8") from error
    except RecursionError:
        shallow, value = False, {}
    except ValueError as error:  # a number of 5,000 digits is one, too
        what = "is no JSON" if text.strip() else "is empty"
        raise _no_object(path, what) from error
    if not shallow:
        raise _no_object(path, f"is nested deeper than {DEEPEST} levels")
    if not isinstance(value, dict):
        raise _no_object(path, "holds no names and values")
    return cast("dict[str, Any]", value)


def _no_object(path: Path, what: str) -> DataError:
    return DataError(f"{path.name} {what}", where=str(path), fix="look at the file; it is damaged")


def read_json(path: Path, most: int | None = None) -> dict[str, Any] | None:
    """The same; None where there is no file, or no object in it."""
    try:
        return load_json(path, most)
    except DataError:
        return None


def is_shallow(value: Any) -> bool:
    """Whether JSON values are nested no deeper than :data:`DEEPEST`."""
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner.extend(cast("dict[str, Any]", one).values())
            elif isinstance(one, list):
                inner.extend(cast("list[Any]", one))
        level = inner
        if not level:
            return True
    return False


class Block(NamedTuple):
    """Some whole lines of a file, and where the next one begins [bytes]."""

    lines: list[bytes]
    offset: int


def blocks(path: Path, offset: int = 0, end: int | None = None) -> Iterator[Block]:
    """Whole lines from ``offset`` to the last one before ``end``, a block of them at a time.

    A line that is longer than :data:`LONGEST_LINE` comes as one that is damaged.

    Args:
        path: a JSONL file; one that does not exist yet has no lines.
        offset: where to begin [bytes]; past the end (the file was cut), reading starts again at 0.
        end: where to stop [bytes]; None reads all there is.
    """
    try:
        file = open_plain(path)
    except OSError:  # what it is that cannot be read, `RunFolder.faults` says
        return
    with file:
        size = os.fstat(file.fileno()).st_size
        if offset > size:
            offset = 0
            yield Block([], 0)
        end = min(size, MOST_BYTES) if end is None else min(end, size, MOST_BYTES)
        file.seek(offset)
        at, rest, overlong = offset, b"", False
        while at < end and (read := file.read(min(BLOCK, end - at))):
            at += len(read)
            whole = read.rfind(b"\n") + 1
            if not whole:
                overlong = overlong or len(rest) + len(read) > LONGEST_LINE
                rest = b"" if overlong else rest + read
                continue
            first = read.find(b"\n") + 1 if overlong else 0
            lines = (rest + read[first : whole - 1]).split(b"\n") if first < whole else []
            yield Block([_OVERLONG, *lines] if overlong else lines, at - len(read) + whole)
            rest, overlong = read[whole:], False
        if overlong:  # it has not ended yet, and is not read again
            yield Block([_OVERLONG], at)


def read_lines(path: Path, offset: int = 0, end: int | None = None) -> Lines:
    """Rows from ``offset`` to the last whole line before ``end``; damaged lines are left out."""
    rows = list[dict[str, Any]]()
    for block in blocks(path, offset, end):
        rows.extend(parse(block.lines))
        offset = block.offset
    return Lines(rows, offset if os.path.exists(path) else 0)


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
    text = b"[" + b",".join(lines) + b"]"
    try:
        rows: list[Any] = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if len(rows) != len(lines) or (
        _may_be_deep(text, len(lines)) and not all(map(is_shallow, rows))
    ):
        return None
    return rows


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        value: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or (_may_be_deep(line, 1) and not is_shallow(value)):
        return None
    return cast("dict[str, Any]", value)


def _may_be_deep(text: bytes, lines: int) -> bool:
    """Whether there are brackets enough for some line to be nested deeper than allowed."""
    return text.count(b"{") + text.count(b"[") >= DEEPEST + lines


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
        self.offset = 0
        self._inode: int | None = None

    def read(self) -> Fresh:
        """The rows since the last call; after a cut all rows again, with ``reset`` true."""
        cut, rows = self.was_cut(), list[dict[str, Any]]()
        for block in self.blocks():
            rows.extend(parse(block.lines))
        return Fresh(rows, cut)

    def was_cut(self) -> bool:
        """Whether the file starts again since the last call; :meth:`blocks` reads all of it then.

        One that cannot be looked at is as it was.
        """
        try:
            status = self.path.stat()
        except OSError:
            return False
        cut = self._inode not in (None, status.st_ino) or status.st_size < self.offset
        self._inode = status.st_ino
        if cut:
            self.offset = 0
        return cut

    def blocks(self) -> Iterator[Block]:
        """The lines since the last call, some at a time, for who parses them."""
        for block in blocks(self.path, self.offset):
            self.offset = block.offset
            yield block

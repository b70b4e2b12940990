"""JSON on disk: files replaced whole, and lines that are read while another process writes them."""

import fcntl
import json
import math
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

AT_ONCE = 200  # lines parsed in one call, for which no other thread of the process can run


class Lines(NamedTuple):
    """Whole lines read from a file, and where to read on."""

    rows: list[dict[str, Any]]
    offset: int


class Fresh(NamedTuple):
    """Rows since the last look; ``reset`` says that the file was cut and starts again."""

    rows: list[dict[str, Any]]
    reset: bool


def clean(value: Any) -> Any:
    """Plain JSON values: NaN and infinities become None, tuples lists, paths and the rest text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {str(key): clean(item) for key, item in items}
    if isinstance(value, list | tuple | set | frozenset):
        return [clean(item) for item in cast("list[Any]", value)]
    if callable(plain := getattr(value, "tolist", None)):  # numpy's and torch's
        return clean(plain())
    return str(value)


def dumps(value: Any) -> str:
    """One line of strict JSON (no NaN), whatever was given."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError):
        return json.dumps(clean(value), ensure_ascii=False, separators=(",", ":"))


def encode(row: Any) -> bytes:
    """A row as one line of bytes, its newline included."""
    return dumps(row).encode("utf-8", "replace") + b"\n"


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file in one step: a reader sees the old one or the new one, never half."""
    aside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    text = json.dumps(clean(value), ensure_ascii=False, indent=1)
    try:
        aside.write_bytes(text.encode("utf-8", "replace") + b"\n")
        os.replace(aside, path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


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
    except (OSError, ValueError):
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
    except ValueError:
        return None
    return rows if len(rows) == len(lines) else None


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        value: Any = json.loads(line)
    except ValueError:
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def append_line(path: Path, row: Mapping[str, Any]) -> None:
    """Append one row to a file that several processes write; mends a half-written last line."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
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
            found = self.path.stat()
        except FileNotFoundError:
            return [], False
        cut = self._inode not in (None, found.st_ino) or found.st_size < self._offset
        self._inode = found.st_ino
        lines, self._offset = _whole_lines(self.path, 0 if cut else self._offset)
        return lines, cut

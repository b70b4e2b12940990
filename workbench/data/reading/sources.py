"""Where rows come from: files of several kinds, frames, lists, data sets, the hub.

Every source is brought to one stream of :class:`Record`: rows as dicts, numbered from 1, with the
unreadable ones among them, so that one bad line never stops the rest.
"""

import csv
import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sized
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from workbench.data import arrow_table
from workbench.data.reading.hub import check_on_hub, hub_rows
from workbench.errors import DataError, nearest

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt")
LONGEST_ROW = 256 * 2**20
"""Bytes of one line; a longer one is put aside without its text."""
LARGEST_WHOLE = 4 * 2**30
"""Bytes of a .json file, which is read as a whole."""
UNPACKED_FREE = 64 * 2**20
"""Bytes that any file may unpack to."""
UNPACKED_RATIO = 200
"""Beyond that, how many times its size a file may unpack to; texts come to some ten."""
_ESCAPED = re.compile("[\udc80-\udcff]")  # bytes that were not UTF-8
_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(:[\w.-]+)?")


class Record(NamedTuple):
    """One row of a source: ``fields``, or ``bad``, why it could not be read."""

    row: int  # counts from 1; in a JSONL file, the line
    fields: dict[str, Any]
    bad: str = ""
    raw: Any = None  # what stands for a row that could not be read: its text or its cells


ShareRead = Callable[[int], float | None]
"""How much of a source so many rows are, 0 to 1; None where that is not known."""


def _unknown(rows: int) -> float | None:
    return None


class RowSource(NamedTuple):
    """A stream of rows, the name to call it by, and how to tell how far the reading is."""

    name: str
    records: Generator[Record]  # to be closed by whoever takes it
    share: ShareRead = _unknown


def open_source(source: Any) -> RowSource:
    """Return the rows of a path, a hub id, a frame, a list, columns or a ``datasets`` object.

    Raises:
        DataError: there is no such file, its kind is not known, or it is empty.
    """
    if isinstance(source, str | Path):
        return _named(str(source))
    if arrow_table.is_frame(source):
        return RowSource("DataFrame", _objects(arrow_table.frame_rows(source)), _of(len(source)))
    if isinstance(source, Mapping):
        return _mapping(cast("Mapping[str, Any]", source))
    if isinstance(source, Iterable):
        rows = cast("Iterable[Any]", source)
        total = len(rows) if isinstance(rows, Sized) else 0
        return RowSource(type(rows).__name__, _objects(rows), _of(total))
    raise DataError(
        f"cannot read rows from a {type(source).__name__}",
        where=repr(source)[:80],
        fix="give a path, a hub id, a DataFrame, a list of dicts or a datasets object",
    )


def _of(total: int) -> ShareRead:
    return (lambda rows: min(rows / total, 1.0)) if total else _unknown


def _named(name: str) -> RowSource:
    path = existing_file(name)
    return RowSource(name, _objects(hub_rows(name))) if path is None else _file_source(path)


def existing_file(name: str) -> Path | None:
    """The file of a name, of which nothing is read; None for a data set of the hub.

    Raises:
        DataError: there is no such file or data set, or nothing in it.
    """
    path = Path(name).expanduser()
    if not path.exists():
        folder = path.parent
        beside = [str(folder / file.name) for file in folder.iterdir()] if folder.is_dir() else []
        fix = f"{nearest(name, beside)}check the path; the current folder is {Path.cwd()}"
        if not _HUB.fullmatch(name) or name.endswith((*SUFFIXES, ".gz")):
            raise DataError("no such file", where=name, fix=fix)
        check_on_hub(name, fix)
        return None
    if path.is_dir():
        names = sorted(child.name for child in path.iterdir())[:5]
        raise DataError(
            "this is a folder, not a file",
            where=name,
            fix=f"name one of its files, such as {', '.join(names) or '(it is empty)'}",
        )
    if path.stat().st_size == 0:
        raise DataError("the file is empty", where=name, fix="give a file with rows in it")
    return path


def _file_source(path: Path) -> RowSource:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes[-1:] == [".gz"]
    kind = (suffixes[:-1] if packed else suffixes)[-1:]
    if kind == [".parquet"] and not packed:
        total, rows = arrow_table.parquet_rows(
            path, most=max(UNPACKED_FREE, UNPACKED_RATIO * path.stat().st_size)
        )
        return RowSource(path.name, _parquet_records(rows), _of(total))
    readers: dict[str, Callable[[BinaryIO], Generator[Record]]] = {
        ".jsonl": _jsonl_rows,
        ".ndjson": _jsonl_rows,
        ".json": _json_rows,
        ".csv": _csv_rows,
        ".tsv": _csv_rows,
        ".txt": _text_rows,
    }
    if not kind or kind[0] not in readers:
        raise DataError(
            f"files of the kind {''.join(path.suffixes) or '(no suffix)'} are not known",
            where=str(path),
            fix=f"use one of {', '.join(SUFFIXES)}, or .gz of the text ones",
        )
    file = _open(path)
    size = path.stat().st_size
    known = kind != [".json"]  # which is read as a whole before its first row

    def share(rows: int) -> float | None:
        if not known:
            return None
        return 1.0 if file.closed else min(file.tell() / size, 1.0)

    return RowSource(path.name, _opened(file, path, packed, readers[kind[0]]), share)


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise _unread(path, error) from error


def _unread(path: Path, error: OSError) -> DataError:
    return DataError(
        f"the file cannot be read: {error.strerror or error}",
        where=str(path),
        fix="check that you may read it and that its disk is there",
    )


def _opened(
    raw: BinaryIO, path: Path, packed: bool, read: Callable[[BinaryIO], Generator[Record]]
) -> Generator[Record]:
    row = 0
    with raw, _unpacked(raw, path) if packed else raw as file:
        try:
            with closing(read(file)) as records:
                for record in records:
                    row = record.row
                    yield record
        except (EOFError, gzip.BadGzipFile, zlib.error):
            yield Record(row + 1, {}, _DAMAGED)
        except _TooMuch:
            yield Record(row + 1, {}, _BOMB)
        except OSError as error:
            raise _unread(path, error) from error


_DAMAGED = "the file is damaged from here on"
_BOMB = f"the file unpacks to over {UNPACKED_RATIO} times its size: the rest was not read"
_TOO_LONG = f"the line is longer than {LONGEST_ROW >> 20} MB"


class _TooMuch(Exception):  # noqa: N818  a verdict on a file
    """A file unpacks to more than any text does."""


class _Unpacked(io.RawIOBase):
    """What a packed file holds, for as long as that is in proportion to it."""

    def __init__(self, packed: gzip.GzipFile, most: int) -> None:
        self._packed, self._most, self._taken = packed, most, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        taken = self._packed.readinto(buffer)
        self._taken += taken
        if self._taken > self._most:
            raise _TooMuch
        return taken


def _most(path: Path) -> int:
    """Bytes that a file may unpack to."""
    return max(UNPACKED_FREE, UNPACKED_RATIO * path.stat().st_size)


def _unpacked(raw: BinaryIO, path: Path) -> BinaryIO:
    packed = gzip.GzipFile(fileobj=raw)
    return cast("BinaryIO", io.BufferedReader(_Unpacked(packed, _most(path))))


def _lines(file: BinaryIO) -> Iterator[bytes | None]:
    """The lines of a file; None for one that is too long, of which nothing is kept."""
    while line := file.readline(LONGEST_ROW + 1):
        if len(line) <= LONGEST_ROW:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(2**20)
        yield None


def _parquet_records(rows: Iterator[dict[str, Any] | None]) -> Generator[Record]:
    row = 0
    try:
        for row, fields in enumerate(rows, start=1):
            if fields is None:
                yield Record(row, {}, "the row cannot be read")
            else:
                yield Record(row, fields)
    except DataError:
        if not row:
            raise
        yield Record(row + 1, {}, _DAMAGED)
    except OverflowError:
        yield Record(row + 1, {}, _BOMB)


def _jsonl_rows(file: BinaryIO) -> Generator[Record]:
    for number, line in enumerate(_lines(file), start=1):
        # Lines end at \n alone: text may hold U+2028 and its like.
        if line is None:
            yield Record(number, {}, _TOO_LONG)
            continue
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line.isspace():
            yield _parsed_line(number, line)


def _parsed_line(number: int, line: bytes) -> Record:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        # Its bytes come back from the text with the same error handler.
        return Record(number, {}, "not UTF-8", line.decode("utf-8", "surrogateescape"))
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return Record(number, {}, "not valid JSON", text.rstrip("\r\n"))
    return _object(number, value)


def _json_rows(file: BinaryIO) -> Generator[Record]:
    parts, size = list[bytes](), 0
    while size <= LARGEST_WHOLE and (part := file.read(2**20)):
        parts.append(part)
        size += len(part)
    if size > LARGEST_WHOLE:
        raise DataError(
            f"a .json file is read as a whole, and this one has more than {LARGEST_WHOLE >> 30} GB",
            where=str(getattr(file, "name", "")),
            fix="write it as JSON lines (.jsonl), one object a line",
        )
    data = b"".join(parts).removeprefix(b"\xef\xbb\xbf")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return _jsonl_rows(io.BytesIO(data))  # many a .json is JSON lines
    if isinstance(value, dict):
        return _mapping(cast("dict[str, Any]", value)).records
    return _objects(cast("list[Any]", value) if isinstance(value, list) else [value])


def _csv_rows(file: BinaryIO) -> Generator[Record]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    # Bytes that are not UTF-8 come through as lone surrogates, and their rows are put aside.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        yield from _cells(text)
    finally:
        text.detach()  # the file is closed by whoever opened it


def _cells(text: io.TextIOWrapper) -> Generator[Record]:
    first = text.readline(LONGEST_ROW)
    lines = iter(lambda: text.readline(LONGEST_ROW), "")
    delimiter = max(",;\t", key=first.count)
    table_rows = csv.reader(chain([first], lines), delimiter=delimiter)
    names = _own_names(next(table_rows))
    for number, cells in enumerate(table_rows, start=1):
        if not cells:
            continue
        if len(cells) != len(names):
            yield Record(number, {}, "the row has not as many cells as the header", cells)
        elif any(map(_ESCAPED.search, cells)):
            yield Record(number, {}, "not UTF-8", cells)
        else:
            fields = {name: _cell(cell, name) for name, cell in zip(names, cells, strict=True)}
            yield Record(number, fields)


def _own_names(header: list[str]) -> list[str]:
    """Return a header's names, with a number behind those that stood there before."""
    names: list[str] = []
    for name in header:
        own, copy = name, 1
        while own in names:
            copy += 1
            own = f"{name} ({copy})"
        names.append(own)
    return names


_ASKED = ("prompt", "question", "instruction", "query", "input")  # a list of words is text here


def _cell(text: str, name: str) -> Any:
    """Return a cell's text, or the list or object whose JSON it is."""
    if text.startswith(('[{"', '[[{"')) or (text.startswith('["') and name.lower() not in _ASKED):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _text_rows(file: BinaryIO) -> Generator[Record]:
    for number, line in enumerate(_lines(file), start=1):
        if line is None:
            yield Record(number, {}, _TOO_LONG)
            continue
        text = line.decode("utf-8-sig" if number == 1 else "utf-8", "replace").strip("\r\n")
        if text.strip():
            yield Record(number, {"prompt": text, "text": text})


def _mapping(source: Mapping[str, Any]) -> RowSource:
    """Read columns, ``{"name": [values]}``; refuse splits; take anything else as one row."""
    if source and all(hasattr(value, "column_names") for value in source.values()):
        raise DataError(
            "this holds several splits",
            where=f"splits: {', '.join(source)}",
            fix=f"give one of them: data[{next(iter(source))!r}]",
        )
    values = list(source.values())
    if len(values) == 1 and isinstance(values[0], list):  # {"data": [rows]}
        inner = cast("list[Any]", values[0])
        if any(isinstance(entry, dict) for entry in inner):
            return RowSource("rows", _objects(inner))
    lengths = {len(cast("list[Any]", v)) if isinstance(v, list) else -1 for v in values}
    if len(lengths) == 1 and -1 not in lengths:
        rows = zip(*values, strict=True)
        return RowSource("columns", _objects(dict(zip(source, row, strict=True)) for row in rows))
    return RowSource("row", _objects([dict(source)]))


def _objects(values: Iterable[Any]) -> Generator[Record]:
    return (_object(number, value) for number, value in enumerate(values, start=1))


def _object(number: int, value: Any) -> Record:
    if isinstance(value, dict):
        return Record(number, cast("dict[str, Any]", value))
    return Record(number, {}, "the row is not an object with named fields", value)

"""The edge to pandas and Arrow, whose types are partial: nothing else in this room touches them."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

import importlib
import math
import sys
from collections.abc import Iterator, Sequence
from json import loads
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from workbench.data.import_report import Report
from workbench.errors import DataError
from workbench.json_lines import dumps, replacing, storable

if TYPE_CHECKING:
    from pandas import DataFrame as Frame

ROWS_A_CHUNK = 20_000  # rows gathered as Python lists before they become Arrow memory
BATCH = 5_000  # rows taken out of a frame or a Parquet file at a time
FEWEST, HELD = 16, 256 * 2**20
"""Rows of a Parquet file at a time where its largest value may be large; bytes that they may be."""
ROWS_FREE, ROWS_A_BYTE = 1_000_000, 20
"""Rows that any Parquet file may have; beyond that, how many for each of its bytes."""


def _pandas() -> Any:
    """Import pandas where a table is made: a label store alone opens without it."""
    return importlib.import_module("pandas")


def _arrow() -> Any:
    return importlib.import_module("pyarrow")


def is_frame(value: Any) -> bool:
    """Whether something is a pandas frame."""
    loaded: Any = sys.modules.get("pandas")  # who has a frame has imported it
    return loaded is not None and isinstance(value, loaded.DataFrame)


class TextTable:
    """Grows a table of text columns: Python lists, turned into Arrow memory chunk by chunk."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._open: list[tuple[str | None, ...]] = []
        self._chunks: list[list[Any]] = [[] for _ in self._names]
        self._changed: dict[int, tuple[str | None, ...]] = {}

    def add(self, *cells: str | None) -> None:
        """Append one row, its cells in the order of the columns."""
        self._open.append(cells)
        if len(self._open) >= ROWS_A_CHUNK:
            self._close()

    def cells(self, row: int) -> tuple[str | None, ...]:
        """Return the cells of a row, which counts from 0."""
        if row in self._changed:
            return self._changed[row]
        part, place = divmod(row, ROWS_A_CHUNK)
        if part < len(self._chunks[0]):
            return tuple(chunks[part][place].as_py() for chunks in self._chunks)
        return self._open[place]

    def change(self, row: int, cells: tuple[str | None, ...]) -> None:
        """Put other cells into a row that is there."""
        self._changed[row] = cells

    def frame(self) -> "Frame":
        """Return the table so far, with an Arrow text column for each name."""
        self._close()
        self._put_changes()
        pa = _arrow()
        arrays = [pa.chunked_array(chunks, type=pa.large_string()) for chunks in self._chunks]
        return _frame_of(self._names, arrays)

    def _put_changes(self) -> None:
        by_part: dict[int, list[int]] = {}
        for row in self._changed:
            by_part.setdefault(row // ROWS_A_CHUNK, []).append(row)
        for part, rows in by_part.items():
            for column, chunks in enumerate(self._chunks):
                cells = chunks[part].to_pylist()
                for row in rows:
                    cells[row % ROWS_A_CHUNK] = self._changed[row][column]
                chunks[part] = _text_array(cells)
        self._changed.clear()

    def _close(self) -> None:
        columns = zip(*self._open, strict=True) if self._open else [()] * len(self._names)
        for column, chunks in zip(columns, self._chunks, strict=True):
            chunks.append(_text_array(column))
        self._open.clear()


def _text_array(cells: Sequence[str | None]) -> Any:
    pa = _arrow()
    try:
        return pa.array(cells, type=pa.large_string())
    except UnicodeEncodeError:  # lone surrogates: rare, so that they are looked for here
        whole = [None if cell is None else storable(cell) for cell in cells]
        return pa.array(whole, type=pa.large_string())


def _frame_of(names: Sequence[str], arrays: Sequence[Any]) -> "Frame":
    pd = _pandas()
    columns = map(pd.arrays.ArrowExtensionArray, arrays)
    return pd.DataFrame(
        {name: pd.Series(array) for name, array in zip(names, columns, strict=True)}
    )


def frame_of(
    rows: list[tuple[Any, ...]], names: Sequence[str], whole: Sequence[str] = ()
) -> "Frame":
    """Return a small frame of the rows; ``whole`` names columns of integers that may be missing.

    Lone surrogates, which no frame of texts can hold, are written as escapes.
    """
    pd = _pandas()
    try:  # pandas 3 would refuse them, pandas 2 would keep them
        "".join(cell for row in rows for cell in row if isinstance(cell, str)).encode()
    except UnicodeEncodeError:
        rows = [tuple(storable(c) if isinstance(c, str) else c for c in row) for row in rows]
    frame: Any = pd.DataFrame(rows, columns=list(names))
    return frame.astype(dict.fromkeys(whole, "Int64")) if whole else frame


def column_names(frame: "Frame") -> list[str]:
    """Return the names of a frame's columns."""
    return [str(name) for name in frame.columns]


def texts(frame: "Frame", name: str, start: int, stop: int) -> list[str | None]:
    """Return the cells of a text column, None where there is nothing."""
    column: Any = frame[name].iloc[start:stop]
    return [cell if isinstance(cell, str) else None for cell in column.tolist()]


def rows_at(frame: "Frame", index: slice) -> "Frame":
    """Return some rows, numbered anew."""
    return cast("Frame", frame.iloc[index].reset_index(drop=True))


def rows_without(frame: "Frame", name: str) -> "Frame":
    """Return the rows that have nothing in a column, numbered anew."""
    missing: Any = frame[name].isna()
    return cast("Frame", frame[missing].reset_index(drop=True))


def rows_in(frame: "Frame", places: Sequence[int]) -> "Frame":
    """Return the rows at the places, in that order, numbered anew."""
    return cast("Frame", frame.iloc[list(places)].reset_index(drop=True))


def filled(frame: "Frame", name: str) -> int:
    """Return how many rows have something in a column."""
    present: Any = frame[name].notna()
    return int(present.sum())


def frame_rows(frame: "Frame") -> Iterator[dict[str, Any]]:
    """Yield a frame's rows as plain Python, batch by batch."""
    for start in range(0, len(frame), BATCH):
        part: Any = frame.iloc[start : start + BATCH]
        for fields in part.to_dict("records"):
            yield {str(name): _plain(value) for name, value in fields.items()}


def parquet_rows(path: Path, *, most: int) -> tuple[int, Iterator[dict[str, Any] | None]]:
    """Return how many rows a Parquet file has, and the rows: None for one that cannot be read.

    Args:
        path: the file.
        most: bytes that its rows may unpack to.

    Raises:
        DataError: the file is not Parquet, it is damaged (also in the middle of the rows), or it
            says that it has more rows than any of its size.
        OverflowError: in the middle of the rows: they unpack to more than ``most``.
    """
    damage = DataError(
        "the file is not Parquet, or it is damaged", where=str(path), fix="write it again"
    )
    try:
        file = importlib.import_module("pyarrow.parquet").ParquetFile(path)
    except (OSError, ValueError) as error:
        raise damage from error
    rows, size = file.metadata.num_rows, path.stat().st_size
    if rows > max(ROWS_FREE, ROWS_A_BYTE * size):
        raise DataError(
            f"the file says that it has {rows:,} rows in {size:,} bytes",
            where=str(path),
            fix="write it again, with the rows that are meant",
        )
    return rows, _parquet_batches(file, damage, most)


def _parquet_batches(file: Any, damage: DataError, most: int) -> Iterator[dict[str, Any] | None]:
    groups = range(file.metadata.num_row_groups)
    largest = max((file.metadata.row_group(i).total_byte_size for i in groups), default=1)
    # one value may be repeated in every row: so many of the largest there can be
    batch_size = max(FEWEST, min(BATCH, HELD // max(largest, 1)))
    batches, unpacked = file.iter_batches(batch_size=batch_size), 0
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except (OSError, ValueError) as error:
            raise damage from error
        unpacked += batch.nbytes
        if unpacked > most:
            raise OverflowError(f"more than {most} bytes")
        try:
            rows = batch.to_pylist()
        except (ValueError, OverflowError):  # text that is not UTF-8, a date past the calendar
            rows = [_one_row(batch, place) for place in range(batch.num_rows)]
        yield from rows


def _one_row(batch: Any, place: int) -> dict[str, Any] | None:
    try:
        return batch.slice(place, 1).to_pylist()[0]
    except (ValueError, OverflowError):
        return None


_REPORT = b"workbench.report"  # the report's place in the metadata of a saved table


def save_table(frame: "Frame", report: Report, path: Path) -> Path:
    """Write a table as Arrow, to be opened again without reading it; return the path.

    Raises:
        DataError: the file cannot be written.
    """
    pa = _arrow()
    names = column_names(frame)
    columns = [pa.chunked_array(pa.array(frame[name], type=pa.large_string())) for name in names]
    table = pa.table(columns, names=names)
    table = table.replace_schema_metadata({_REPORT: dumps(report.saved()).encode("utf-8")})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=ROWS_A_CHUNK)
    except OSError as error:
        raise DataError(
            f"the table could not be written: {error}",
            where=str(path),
            fix="give a path that can be written to",
        ) from error
    return path


def open_saved(path: Path) -> "tuple[Frame, Report]":
    """Open a table that :func:`save_table` wrote; its memory is the file itself.

    Raises:
        DataError: there is no such file, or it was not written by ``Pairs.save``.
    """
    pa = _arrow()
    if not path.exists():
        raise DataError("no such file", where=str(path), fix="check the path")
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, ValueError) as error:
        raise _not_saved(path) from error
    saved = (table.schema.metadata or {}).get(_REPORT)
    if saved is None:
        raise _not_saved(path)
    return _frame_of(table.column_names, table.columns), Report(**loads(saved.decode()))


def _not_saved(path: Path) -> DataError:
    return DataError(
        "this is not a table that Pairs.save wrote, or it is damaged",
        where=str(path),
        fix="save it again with pairs.save(path), or give the file that it came from",
    )


def _plain(value: Any) -> Any:
    """Return a frame's cell as plain Python: arrays as lists, missing values as None."""
    if value is None or isinstance(value, str):
        return value
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, dict):
        return {str(k): _plain(entry) for k, entry in value.items()}
    return value

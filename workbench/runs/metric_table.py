"""A run's metrics by name, one number a row: read a block at a time, so that no history is long.

What took long to parse is kept in the run's folder as columns of numbers. They say of how many
bytes of metrics.jsonl they are, and the checksum of all of these; so beside a file that was cut,
changed or exchanged they count for nothing, and are made again.
"""

import json
import math
import os
import sys
import zlib
from array import array
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from workbench.json_lines import MOST_BYTES, Block, Follower, encode, open_plain, replacing
from workbench.runs.file_rules import is_count, is_number, known_metrics, metric_rows
from workbench.runs.folder import METRICS, RunFolder

KEPT_COLUMNS = "metrics.columns"
WORTH_COLUMNS = 4 << 20
"""Bytes of metrics.jsonl that had to be parsed, to write the columns."""
_LARGEST_HEADER = 1 << 20  # bytes of the first line, which is JSON; after it come the numbers
_BLOCK = 1 << 20  # bytes


class MetricTable:
    """The rows of metrics.jsonl as columns of 64-bit floats; NaN where a row has no number.

    Attributes:
        columns: by metric, ``step`` and ``time`` among them.
        count: how many rows there are.
        damaged: how many lines hold no row.
        length: of how many bytes of the file it is.
    """

    def __init__(self) -> None:
        self.columns: dict[str, array[float]] = {}
        self.count = self.damaged = self.length = 0

    def take(self, block: Block) -> None:
        """Append the rows of these lines."""
        rows = metric_rows(block.lines)
        self.damaged += len(block.lines) - len(rows)
        self.length = block.offset
        for names, alike in groupby(rows, key=tuple):  # nearly all rows have the same names
            self._append(names, list(alike))

    def _append(self, names: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
        if any(name not in self.columns for name in names):
            for name in known_metrics(names, self.columns):
                if name not in self.columns:
                    self.columns[name] = array("d", [math.nan]) * self.count
        values = _numbers([tuple(row.values()) for row in rows])
        numbers = dict(zip(names, values.T, strict=True))
        nothing = np.full(len(rows), math.nan)
        for name, column in self.columns.items():
            column.frombytes(numbers.get(name, nothing).tobytes())
        self.count += len(rows)

    def recent_mean(self, name: str, count: int = 10) -> float | None:
        """The mean of a metric's last ``count`` numbers; None where it has none."""
        values = np.array(self.columns.get(name, array("d")))
        values = values[np.isfinite(values)][-count:]
        return float(values.mean()) if len(values) else None


def _numbers(rows: list[tuple[Any, ...]]) -> NDArray[np.float64]:
    """Values ``(rows, names)`` as float64; what is no number (None, a text) becomes NaN."""
    try:
        values = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        values = np.empty(())
    if values.ndim == 2:
        return values
    return np.array([[v if is_number(v) else math.nan for v in row] for row in rows], np.float64)


def metrics_of(folder: RunFolder) -> MetricTable:
    """All metrics of a run, as they are now."""
    return read_on(MetricTable(), folder.follow(METRICS))


def read_on(table: MetricTable, metrics: Follower) -> MetricTable:
    """Take in what has been written since: from the beginning, first what was kept.

    Where that took long, it is kept for the next one who looks.
    """
    if not metrics.offset:
        table = kept_columns(metrics.path.parent)
        metrics.offset = table.length
    begin = metrics.offset
    for block in metrics.blocks():
        table.take(block)
    if metrics.offset - begin >= WORTH_COLUMNS:
        keep_columns(table, metrics.path.parent)
    return table


def keep_columns(table: MetricTable, folder: Path) -> None:
    """Write a table into its run's folder; one that cannot be written stays as it is.

    Columns of more than :data:`MOST_BYTES` are not kept.
    """
    if 8 * table.count * len(table.columns) > MOST_BYTES:
        return
    with suppress(OSError, EOFError):
        header = {
            "length": table.length,
            "metrics": _checksum(_parts(folder / METRICS, table.length)),
            "columns": _checksum(iter(table.columns.values())),
            "rows": table.count,
            "damaged": table.damaged,
            "names": list(table.columns),
            "order": sys.byteorder,
        }
        with replacing(folder / KEPT_COLUMNS) as file:
            file.write(encode(header))
            for column in table.columns.values():
                column.tofile(file)


def kept_columns(folder: Path) -> MetricTable:
    """The table that was kept; an empty one where there is none that belongs to the metrics."""
    try:
        with open_plain(folder / KEPT_COLUMNS) as file:
            header: Any = json.loads(file.readline(_LARGEST_HEADER))
            numbers = os.fstat(file.fileno()).st_size - file.tell()
            return _table(header, file, numbers, folder) or MetricTable()
    except (OSError, EOFError, ValueError, RecursionError):
        return MetricTable()


def _table(header: Any, file: IO[bytes], numbers: int, folder: Path) -> MetricTable | None:
    """The table of so many bytes behind a header; None where either is not what was written."""
    known = cast("dict[str, Any]", header) if isinstance(header, dict) else {}
    counts = [known.get(name) for name in ("length", "rows", "damaged", "columns", "metrics")]
    names = cast("list[Any]", names) if isinstance(names := known.get("names"), list) else []
    if not all(map(is_count, counts)) or not all(isinstance(name, str) for name in names):
        return None
    if known_metrics(names) != names or "step" not in names or known.get("order") != sys.byteorder:
        return None
    table = MetricTable()
    table.length, table.count, table.damaged, columns, metrics = cast("list[int]", counts)
    if 8 * table.count * len(names) != numbers or numbers > MOST_BYTES:
        return None
    for name in names:
        table.columns[name] = array("d")
        table.columns[name].fromfile(file, table.count)
    if _checksum(iter(table.columns.values())) != columns:
        return None
    if _checksum(_parts(folder / METRICS, table.length)) != metrics:
        return None
    return table if _are_steps(table.columns["step"]) else None


def _are_steps(column: "array[float]") -> bool:
    steps = np.asarray(column)
    return bool(((steps >= 0) & (steps <= 2**53) & (steps == np.floor(steps))).all())


def _checksum(parts: "Iterator[bytes | array[float]]") -> int:
    check = 0
    for part in parts:
        check = zlib.crc32(part, check)
    return check


def _parts(path: Path, length: int) -> Iterator[bytes]:
    """The first bytes of a file, some at a time.

    Raises:
        EOFError: it has fewer.
    """
    with open_plain(path) as file:
        while length:
            part = file.read(min(_BLOCK, length))
            if not part:
                raise EOFError(path)
            length -= len(part)
            yield part

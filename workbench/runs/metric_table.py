"""A run's metrics by name, one number a row: read a block at a time, so that no history is long."""

import math
from array import array
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.json_lines import blocks
from workbench.runs.file_rules import is_number, known_metrics, metric_rows
from workbench.runs.folder import METRICS, RunFolder


class MetricTable:
    """The rows of metrics.jsonl as columns of 64-bit floats; NaN where a row has no number.

    Attributes:
        columns: by metric, ``step`` and ``time`` among them.
        count: how many rows there are.
        damaged: how many lines hold no row.
    """

    def __init__(self) -> None:
        self.columns: dict[str, array[float]] = {}
        self.count = self.damaged = 0

    def take(self, lines: list[bytes]) -> None:
        """Append the rows of these lines."""
        rows = metric_rows(lines)
        self.damaged += len(lines) - len(rows)
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


def metrics_of(folder: RunFolder) -> MetricTable:
    """All metrics of a run, as they are now."""
    table = MetricTable()
    for lines, _ in blocks(folder.path / METRICS):
        table.take(lines)
    return table


def _numbers(rows: list[tuple[Any, ...]]) -> NDArray[np.float64]:
    """Values ``(rows, names)`` as float64; what is no number (None, a text) becomes NaN."""
    try:
        values = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        values = np.empty(())
    if values.ndim == 2:
        return values
    return np.array([[v if is_number(v) else math.nan for v in row] for row in rows], np.float64)

"""What a run has come to, kept in its folder: a table of runs need not read their histories.

The writer folds each row into it and puts it on disk now and then. It says how far into
metrics.jsonl it has read, and what stood just before; so whoever finds it (after a kill, after a
resume, beside a file that was exchanged) folds in what is missing, or begins anew.
"""

import os
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from workbench.json_lines import blocks, clean, open_plain, read_json, write_json
from workbench.runs.file_rules import is_count, is_number, metric_rows
from workbench.runs.folder import METRICS

SUMMARY = "summary.json"
MOST_SUMMARY = 1 << 20  # bytes of it
LAST = 10  # rows that a figure is a mean of
PAUSE = 20.0  # a gap of so many times the usual one is a pause
WORTH_KEEPING = 64 << 10  # bytes of metrics.jsonl that a reader folded in, to write the summary
_CHECKED = 4096  # bytes before the place that was read to, by which the file is known again

RUN_FIGURES: dict[str, str] = {
    "score": "objective/scores",
    "gold": "objective/gold",
    "kl": "objective/kl",
    "loss": "loss",
    "accuracy": "accuracy",
    "heldout_loss": "heldout/loss",
    "heldout_accuracy": "heldout/accuracy",
}
"""The figures of a table of runs, and the metrics that they are means of."""
_LESS_IS_BETTER = ("loss", "heldout_loss", "kl")


class RunFigure:
    """One metric's last numbers, and the best mean of :data:`LAST` in a row (held out: of one).

    Attributes:
        recent: its last numbers.
        count: how many there were.
        best: the best mean so far.
        best_step: at which step that mean ended.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.recent: list[float] = []
        self.count = 0
        self.best: float | None = None
        self.best_step = 0

    def add(self, value: float, step: int) -> None:
        """Take in the next number."""
        width = 1 if self.name.startswith("heldout") else LAST
        self.recent = [*self.recent[-LAST + 1 :], value]
        self.count += 1
        mean = sum(self.recent[-width:]) / min(width, self.count)
        sign = -1 if self.name in _LESS_IS_BETTER else 1
        if self.count <= width or self.best is None or sign * mean > sign * self.best:
            self.best, self.best_step = mean, step

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, which :meth:`restore` takes."""
        best = {"best": self.best, "best_step": self.best_step}
        return {"count": self.count, **best, "recent": self.recent}

    def restore(self, kept: Mapping[str, Any]) -> bool:
        """Take back what :meth:`as_dict` gave; false where the values are others."""
        recent: Any = kept.get("recent")
        counts = is_count(kept.get("count")) and is_count(kept.get("best_step"))
        if not counts or not is_number(kept.get("best")) or not isinstance(recent, list):
            return False
        numbers = cast("list[Any]", recent)
        if not 0 < len(numbers) <= LAST or not all(map(is_number, numbers)):
            return False
        self.count, self.best_step, self.best = kept["count"], kept["best_step"], kept["best"]
        self.recent = list(numbers)
        return True

    @property
    def mean(self) -> float | None:
        """The mean of its last numbers; None where there is none."""
        return sum(self.recent) / len(self.recent) if self.recent else None


class Summary:
    """Figures of a run, by the first ``length`` bytes of its metrics.jsonl.

    Attributes:
        seconds: how long its steps took, without pauses.
        figures: by the names of :data:`RUN_FIGURES`.
    """

    def __init__(self) -> None:
        self.length = self.rows = self.check = 0
        self.seconds = 0.0
        self.figures = {name: RunFigure(name) for name in RUN_FIGURES}
        self._last_time: float | None = None
        self._gaps = 0  # that count as steps

    def add(self, row: Mapping[str, Any]) -> None:
        """Take in a row of metrics."""
        self.rows += 1
        for name, metric in RUN_FIGURES.items():
            if is_number(value := row.get(metric)):
                self.figures[name].add(float(value), row["step"])
        if is_number(now := row.get("time")):
            self._add_time(float(now))

    def _add_time(self, now: float) -> None:
        if self._last_time is not None and (gap := now - self._last_time) >= 0:
            usual = self.seconds / self._gaps if self._gaps else gap
            self.seconds += gap if gap <= PAUSE * usual else usual
            self._gaps += 1
        self._last_time = now

    def read_on(self, path: Path) -> int:
        """Fold in what has been written since, or all again where the file is another.

        Returns:
            How many bytes were read.
        """
        if not self._belongs_to(path):
            self.__init__()
        begin = self.length
        for block in blocks(path, begin):
            for row in metric_rows(block.lines):
                self.add(row)
            self.length = block.offset
        if self.length != begin:
            self.check = _check(path, self.length)
        return self.length - begin

    def wrote(self, row: Mapping[str, Any], descriptor: int) -> None:
        """Take in a row that was just written to the open file, as a reader would find it."""
        metrics = (metric for metric in ("time", *RUN_FIGURES.values()) if metric in row)
        self.add({"step": row["step"], **{metric: clean(row[metric]) for metric in metrics}})
        self.length = os.fstat(descriptor).st_size

    def keep(self, folder: Path) -> None:
        """Write it into the run's folder.

        Raises:
            OSError: the folder cannot be written.
        """
        self.check = _check(folder / METRICS, self.length)
        write_json(folder / SUMMARY, self.as_dict())

    def _belongs_to(self, path: Path) -> bool:
        if not self.length:
            return not self.rows
        try:
            size = os.stat(path).st_size
        except OSError:
            return False
        return size >= self.length and _check(path, self.length) == self.check

    @property
    def duration(self) -> float | None:
        """How long the run's steps took, the first one taken as long as a usual one [s]."""
        return self.seconds * (self._gaps + 1) / self._gaps if self._gaps else None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, which :meth:`from_dict` reads."""
        facts = {"length": self.length, "check": self.check, "rows": self.rows}
        times = {"seconds": self.seconds, "gaps": self._gaps, "last_time": self._last_time}
        figures = {name: one.as_dict() for name, one in self.figures.items() if one.count}
        return {**facts, **times, "figures": figures}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Summary | None":
        """A summary that was kept; None where the values are others."""
        new, figures = cls(), values.get("figures")
        counts = [values.get(name) for name in ("length", "check", "rows", "gaps")]
        if not all(map(is_count, counts)) or not is_number(values.get("seconds")):
            return None
        if not isinstance(figures, dict):
            return None
        new.length, new.check, new.rows, new._gaps = cast("list[int]", counts)
        new.seconds = float(values["seconds"])
        new._last_time = values["last_time"] if is_number(values.get("last_time")) else None
        for name, kept in cast("dict[str, Any]", figures).items():
            if name not in RUN_FIGURES or not isinstance(kept, dict):
                return None
            if not new.figures[name].restore(cast("dict[str, Any]", kept)):
                return None
        return new


def read_summary(folder: Path) -> Summary:
    """A run's summary, as it is on disk: perhaps behind, perhaps of another file."""
    values = read_json(folder / SUMMARY, MOST_SUMMARY)
    return (None if values is None else Summary.from_dict(values)) or Summary()


def catch_up(summary: Summary, folder: Path, *, keep: bool) -> None:
    """Read on in a run's metrics; where that was worth while, keep the summary if asked to."""
    if summary.read_on(folder / METRICS) >= WORTH_KEEPING and keep:
        with suppress(OSError):  # a folder that is only read, or a full disk
            summary.keep(folder)


def _check(path: Path, end: int) -> int:
    """A checksum of the bytes before ``end``."""
    try:
        with open_plain(path) as file:
            begin = max(0, end - _CHECKED)
            return zlib.crc32(os.pread(file.fileno(), end - begin, begin))
    except OSError:
        return 0

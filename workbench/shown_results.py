"""Plain results that a notebook shows with words: a path, an address, scores, rows.

Each is what it always was, a path, a text or a list, and says more where it is looked at.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar, cast

from workbench.html_table import table

FIRST_SHOWN = 8  # rows of a long list that are shown
LONGEST = 200  # characters of a text that are shown
_TEXT = "style='text-align:left;vertical-align:top;padding:3px 14px 3px 0;white-space:pre-wrap'"
_NUMBER = "style='text-align:right;padding:3px 14px 3px 0;font-variant-numeric:tabular-nums'"
_Row = TypeVar("_Row")
_TABLE = "style='border-collapse:collapse;font-size:13px'"


class WrittenPath(type(Path())):
    """A file or folder that a verb wrote: a path like any other, shown as a link with its size."""

    def __repr__(self) -> str:
        return f"{self.name}{self._size()}: {self}"

    def _repr_html_(self) -> str:
        link = os.path.relpath(self)
        name = escape(self.name)
        if not link.startswith(".."):  # where a notebook's page can follow it
            name = f"<a href='{escape(link)}' target='_blank'>{name}</a>"
        return (
            f"<p style='font-size:13px;margin:0'><b>{name}</b>{escape(self._size())} "
            f"<code style='opacity:.75'>{escape(str(self))}</code></p>"
        )

    def _size(self) -> str:
        try:
            if self.is_dir():
                files = [Path(place) / name for place, _, names in os.walk(self) for name in names]
                return f", {len(files):,} files, {_bytes(sum(map(_file_size, files)))}"
            return f", {_bytes(_file_size(self))}"
        except OSError:
            return " (it is not there any more)"


def _file_size(path: Path) -> int:
    return os.lstat(path).st_size


def _bytes(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


class WebAddress(str):
    """An address, shown as a link."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        text = escape(self)
        if not self.startswith(("https://", "http://")):
            return f"<code>{text}</code>"
        return f"<a href='{text}' target='_blank' rel='noopener'>{text}</a>"


class Scores(list[float]):
    """Scores in the order of their answers; NaN where an answer has none."""

    def _repr_html_(self) -> str:
        numbers = [score for score in self if not math.isnan(score)]
        missing = len(self) - len(numbers)
        words = f"{len(self):,} scores"
        if numbers:
            words += f", mean {fmean(numbers):+.2f}, {min(numbers):+.2f} to {max(numbers):+.2f}"
        if missing:
            words += f"; {missing:,} answers have none"
        rows = [(str(i), f"{score:+.2f}") for i, score in enumerate(self[:FIRST_SHOWN])]
        drawn = table(rows, _NUMBER, heads=("answer", "score"), attributes=_TABLE)
        return _described(words.replace("-", "−"), drawn, len(self))

    def with_spread(self, spread: Sequence[float]) -> str:
        """The same as HTML, with how far the members of an ensemble are apart."""
        rows = [
            (str(i), f"{score:+.2f}", f"{apart:.2f}")
            for i, (score, apart) in enumerate(zip(self[:FIRST_SHOWN], spread, strict=False))
        ]
        drawn = table(rows, _NUMBER, heads=("answer", "mean", "spread"), attributes=_TABLE)
        return _described(f"{len(self):,} scores of an ensemble", drawn, len(self))


class ListedRows(list[_Row]):
    """Rows, shown as the first of them in a table.

    Attributes:
        left_out: fields of the file that are in none of them, with how many rows had each.
    """

    def __init__(
        self, rows: Iterable[_Row] = (), left_out: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(rows)
        self.left_out = dict(left_out or {})

    def _repr_html_(self) -> str:
        words = f"{len(self):,} rows"
        if self.left_out:
            fields = (f"{name} ({count:,} rows)" for name, count in self.left_out.items())
            words += f"; left out: {', '.join(fields)}"
        return rows_as_html(words, map(_fields, self[:FIRST_SHOWN]), len(self))


def rows_as_html(words: str, rows: Iterable[Mapping[str, Any]], count: int) -> str:
    """HTML of the first of ``count`` rows, each a text by name, under a few words."""
    shown = list(rows)
    heads = list(dict.fromkeys(name for row in shown for name in row))
    cells = [[_short(row.get(name, "")) for name in heads] for row in shown]
    drawn = table(cells, _TEXT, heads=heads, attributes=_TABLE) if cells else ""
    return _described(words, drawn, count)


def _fields(row: Any) -> Mapping[str, Any]:
    """A row's fields; of a conversation, its turns by role."""
    if isinstance(row, Mapping):
        return cast("Mapping[str, Any]", row)
    turns: list[Any] = row if isinstance(row, list) else [row]
    fields: dict[str, str] = {}
    for turn in turns:
        known = cast("Mapping[str, Any]", turn) if isinstance(turn, Mapping) else {"text": turn}
        role, text = str(known.get("role", "text")), str(known.get("content", known.get("text")))
        fields[role] = f"{fields[role]}\n{text}" if role in fields else text
    return fields


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def _described(words: str, drawn: str, count: int) -> str:
    more = f"; the first {FIRST_SHOWN}" if count > FIRST_SHOWN else ""
    return (
        f"<p style='font-size:13px;margin:0 0 4px'>{escape(words)}{more}</p>"
        f"<div style='overflow-x:auto'>{drawn}</div>"
    )

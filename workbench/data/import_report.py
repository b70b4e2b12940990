"""What became of every row of an import."""

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.data.quarantine import QuarantinedRows
from workbench.html_table import Html, table


@dataclass
class Report:
    """Where each input row ended: in exactly one bucket, so that the counts add up.

    ``input == imported + ties + duplicates + sum(quarantined.values())``. Ties (and "both bad") are
    kept as items, so ``items == imported + ties``, unless rows and items are not one to one:
    several rows may be one item (HelpSteer2), and one row several (OASST). ``left_out`` says what
    of the rows that came in is in no item, such as replies without a rank: reason -> answers.
    ``fields`` says what became of the fields that are neither text nor label of an item: name ->
    what -> rows.
    """

    input: int = 0  # [rows]
    imported: int = 0  # [rows]
    ties: int = 0  # [rows] no preference: tie or both bad
    duplicates: int = 0  # [rows] the same item with the same label, or with none, came before
    quarantined: dict[str, int] = field(default_factory=dict[str, int])  # reason -> rows
    items: int = 0
    format: str = ""
    source: str = ""
    # the first three, as read
    examples: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    # of rows that count as imported
    left_out: dict[str, int] = field(default_factory=dict[str, int])
    # "tool_calls" -> {"kept in meta": 12} [rows]
    fields: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    _rows: QuarantinedRows = field(default_factory=QuarantinedRows, repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as plain JSON values, in the fixed names."""
        counts: dict[str, Any] = {
            "input": self.input,
            "imported": self.imported,
            "ties": self.ties,
            "duplicates": self.duplicates,
            "quarantined": dict(self.quarantined),
            "items": self.items,
            "format": self.format,
        }
        return {**counts, "left_out": dict(self.left_out)} if self.left_out else counts

    @property
    def quarantined_rows(self) -> list[dict[str, Any]]:
        """The quarantined rows, whole: ``{"row", "reason", "value"}`` each."""
        return list(self._rows)

    def write_quarantined(self, path: str | Path) -> Path:
        """Write the quarantined rows, whole, one JSON object a line; return the path.

        Each is ``{"row", "reason", "value"}``; ``value`` is the row as it came in, or its text
        where it could not be read.

        Raises:
            DataError: the file cannot be written.
        """
        path = Path(path)
        self._rows.write(path)
        return path

    save_quarantined = write_quarantined

    def quarantine(self, row: int, reason: str, value: Any) -> None:
        """Put one row aside, with the reason."""
        self.quarantined[reason] = self.quarantined.get(reason, 0) + 1
        self._rows.add(row, reason, value)

    def leave_out(self, counts: dict[str, int]) -> None:
        """Count what of an imported row is in no item."""
        for reason, answers in filter(lambda count: count[1], counts.items()):
            self.left_out[reason] = self.left_out.get(reason, 0) + answers

    def count_field(self, name: str, fate: str, rows: int = 1) -> None:
        """Count what became of a field of so many rows."""
        fates = self.fields.setdefault(name, {})
        fates[fate] = fates.get(fate, 0) + rows

    def saved(self) -> dict[str, Any]:
        """Return all but the quarantined rows as plain JSON values."""
        held = {"left_out": self.left_out, "source": self.source, "examples": self.examples}
        return {**self.as_dict(), **held, "fields": self.fields}

    def __str__(self) -> str:
        lines = [f"{rows:>9,}  {name}" for name, rows in self._lines()]
        head = f"{self.items:,} items from {self.source or 'memory'} (format: {self.format})"
        shown = [
            "\n".join(f"  {name:>8} | {_short(text)}" for name, text in example.items())
            for example in self.examples
        ]
        return "\n".join([head, *lines]) + ("\n\n" + "\n\n".join(shown) if shown else "")

    def _repr_html_(self) -> str:
        counts = table(
            ((f"{rows:,}", name) for name, rows in self._lines()),
            ("style='text-align:right'", "style='text-align:left'"),
        )
        head = html.escape(f"{self.items:,} items from {self.source or 'memory'}")
        return (
            f"<p><b>{head}</b> (format: {html.escape(self.format)})</p>"
            f"{counts}{texts_table(self.examples)}"
        )

    def _lines(self) -> list[tuple[str, int]]:
        rows = [("rows read", self.input), ("imported", self.imported), ("ties", self.ties)]
        rows.append(("duplicates", self.duplicates))
        rows += [(f"quarantined: {why}", n) for why, n in sorted(self.quarantined.items())]
        rows += [(f"left out of them: {why}", n) for why, n in sorted(self.left_out.items())]
        return rows + [
            (f"{name}: {fate}", n)
            for name, fates in sorted(self.fields.items())
            for fate, n in sorted(fates.items())
        ]


def texts_table(rows: Iterable[Mapping[str, str]], limit: int = 160) -> str:
    """Return texts by name as a table: nothing in them is HTML, each cut at the limit."""
    cells = (
        [
            Html(f"<b>{html.escape(name)}</b><br>{html.escape(_short(text, limit))}")
            for name, text in texts.items()
        ]
        for texts in rows
    )
    return table(cells, "dir='auto' style='text-align:left;vertical-align:top'")


def _short(text: str, limit: int = 160) -> str:
    """Return the text on one line, cut where it is long. ``limit`` in characters."""
    line = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    return line if len(line) <= limit else line[: limit - 1] + "…"

"""A pandas table that a notebook shows as the workbench shows all its tables.

It is a DataFrame in every other way. It stands apart because it loads pandas, which is done when a
table is asked for.
"""

# pyright: reportMissingTypeStubs=false
import math
from typing import Any

import pandas as pd

from workbench.html_table import Html, table

FIRST, LAST = 12, 4  # rows of a long table that are shown
LONGEST = 160  # characters of a cell that are shown
_TEXT = "style='text-align:left;vertical-align:top;padding:3px 14px 3px 0;max-width:420px;\
overflow-wrap:anywhere'"
_NUMBER = "style='text-align:right;vertical-align:top;padding:3px 14px 3px 0;\
font-variant-numeric:tabular-nums;white-space:nowrap'"


class TableFrame(pd.DataFrame):
    """A DataFrame in the workbench's own table: numbers to four digits, texts as texts."""

    @property
    def _constructor(self) -> "type[TableFrame]":
        return TableFrame

    def _repr_html_(self) -> str:
        """The first and last rows, and how many there are."""
        count = len(self)
        long = count > FIRST + LAST + 1
        shown: Any = pd.concat([self.iloc[:FIRST], self.iloc[count - LAST :]]) if long else self
        names = [str(name) for name in self.columns]
        named = not isinstance(self.index, pd.RangeIndex)
        styles = [_NUMBER if _is_numeric(self.iloc[:, i]) else _TEXT for i in range(len(names))]
        rows: list[list[str]] = [
            [*([_cell(index)] if named else []), *map(_cell, values)]
            for index, values in zip(shown.index, shown.to_numpy(dtype=object), strict=True)
        ]
        if long:
            rows.insert(FIRST, ["⋮"] * (len(names) + named))
        heads = [*([str(self.index.name or "")] if named else []), *names]
        drawn = table(
            rows,
            [*([_TEXT] if named else []), *styles],
            heads=heads,
            attributes="style='border-collapse:collapse;font-size:13px'",
        )
        rows_word = "row" if count == 1 else "rows"
        return (
            f"<div style='overflow-x:auto'>{drawn}</div>"
            f"<p style='opacity:.7;font-size:12px;margin:4px 0 0'>{count:,} {rows_word}</p>"
        )


def _is_numeric(column: Any) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column)) and column.dtype != bool


def _cell(value: Any) -> str:
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, Html):
        return str(value)
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "−", 1) if value < 0 else f"{value:.4g}"
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"

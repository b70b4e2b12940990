"""What every report is: a sentence, small pictures, a table, and what stands behind them."""

from collections.abc import Callable, Mapping
from html import escape
from itertools import islice
from typing import Any

from workbench.data.messages import Message, plain_text
from workbench.data.pairs import Pairs
from workbench.html_table import Html, escaped
from workbench.reports.plotly_figures import PlotlyFigures
from workbench.reports.svg_charts import Rate, StillChart, picture
from workbench.widgets.kit.texts import abridged
from workbench.widgets.kit.theme import OKABE_ITO

SHOWN, LONGEST = 3, 300
"""Pairs that a line opens, and characters of each text."""
COMPACT = "style='border-collapse:collapse;font-size:13px'"
LEFT = "style='text-align:left;padding:3px 14px 3px 0'"
RIGHT = "style='text-align:right;padding:3px 14px 3px 0'"

_PROSE = "text-align:left;vertical-align:top;padding:4px 12px 4px 0"
PROSE, SHORT = f"style='{_PROSE}'", f"style='{_PROSE};white-space:nowrap'"

STATE_MARKS = {  # state -> mark, word, colour
    "ok": ("✓", "fine", OKABE_ITO["green"]),
    "look": ("●", "look", OKABE_ITO["vermillion"]),
    "failed": ("✗", "failed", OKABE_ITO["vermillion"]),
    "unknown": ("○", "not known", "currentColor"),
    "": ("", "", "currentColor"),
}


def state_cell(state: str) -> Html:
    """Return a state as a coloured mark and its word."""
    mark, word, colour = STATE_MARKS[state]
    return Html(f"<b aria-hidden='true' style='color:{colour}'>{mark}</b> {word}")


def known(value: Any) -> float | None:
    """Return a number of a frame; None where it has none."""
    return None if value is None or value != value else float(value)


def rates(frame: Any, column: str, name: Callable[[Any], str]) -> list[Rate]:
    """Return a frame's rows whose share in a column is known, with its interval, as called."""
    return [
        Rate(name(row), float(getattr(row, column)), known(row.low), known(row.high))
        for row in frame.itertuples(index=False)
        if known(getattr(row, column)) is not None
    ]


def opened(summary: str, pairs: Pairs, most: int = SHOWN) -> Html:
    """Return a line that opens the first pairs behind a figure: what was asked, both answers.

    The answer that the label prefers is marked; texts are shortened, and nothing in them is HTML.
    """
    shown = ""
    for pair in islice(pairs, most):
        winner = (pair.label or {}).get("winner")
        answers = "".join(
            f"<li>{'<b>✓ preferred</b> ' if n == winner else ''}{_brief(answer)}</li>"
            for n, answer in enumerate(pair.responses)
        )
        shown += f"<dt>{_brief(pair.prompt)}</dt><dd><ul>{answers}</ul></dd>"
    more = f"<p>and {len(pairs) - most:,} more</p>" if len(pairs) > most else ""
    return Html(f"<details><summary>{escaped(summary)}</summary><dl>{shown}</dl>{more}</details>")


def _brief(turns: list[Message]) -> str:
    return escape(abridged(plain_text(turns), LONGEST))


class ReportPage:
    """What a verb found out; in a notebook a page that needs no script.

    Attributes:
        sentence: what it comes to.
        warning: why not to lean on it; may be empty.
        figures: its charts as Plotly figures, by name.
    """

    warning = ""
    _table_first = False  # a table as wide as the page stands above the pictures

    def __init__(
        self, sentence: str, charts: Mapping[str, StillChart] | None = None, *, name: str = "report"
    ) -> None:
        self.sentence = sentence
        self._charts = dict(charts or {})
        self.figures = PlotlyFigures(self._charts, f"{name}.figures")

    def _remark(self) -> str:
        """What follows the sentence."""
        return ""

    def _table(self) -> Html:
        return Html()

    def _note(self) -> str:
        """How it was measured, and where the rows behind it are."""
        return ""

    def _repr_html_(self) -> str:
        pictures = "".join(map(picture, self._charts.values()))
        above, beside = (self._table(), "") if self._table_first else ("", self._table())
        layout = "margin-top:12px" if above else "align-items:flex-start"
        remark, note = self._remark(), escaped(self._note())
        noted = f"<div style='opacity:.75;margin:8px 0 0'>{note}</div>" if note else ""
        warned = f"<p style='margin:8px 0 0'>● {escape(self.warning)}</p>" if self.warning else ""
        return (
            f"<div style='font-size:13px;max-width:1060px'><p style='margin:0 0 6px'>"
            f"<b>{escape(self.sentence)}</b>{remark and ' '}{escape(remark)}</p>{above}"
            f"<div style='display:flex;flex-wrap:wrap;gap:16px 26px;{layout}'>{pictures}{beside}"
            f"</div>{warned}{noted}</div>"
        )

"""The quality of preference data as a report to read: a table, small pictures, Plotly figures."""

from collections.abc import Callable, Iterator
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.analysis.quality import OK, Findings
from workbench.data.arrow_table import rows_in
from workbench.data.pairs import Pairs
from workbench.errors import DataError
from workbench.html_table import Html, table
from workbench.reports.report import (
    COMPACT,
    PROSE,
    SHORT,
    STATE_MARKS,
    ReportPage,
    opened,
    rates,
    state_cell,
)
from workbench.reports.svg_charts import RateChart

if TYPE_CHECKING:
    from pandas import DataFrame

    from workbench.widgets.browser.browser import Browser


class Quality(ReportPage):
    """What was found out about preference data: ``summary``, ``frames`` and ``figures``.

    ``summary`` has a row a check: what was found, and what to do about it. ``frames`` has the rows
    behind: duplicates, leaks, problems, length, features, sides, agreement, steadiness, reasons.
    ``figures`` has a Plotly figure of those that are rates, drawn when it is asked for.
    """

    _table_first = True

    def __init__(self, findings: Findings) -> None:
        self.title = findings.title
        self.summary: DataFrame = findings.summary
        self.frames: dict[str, DataFrame] = findings.frames
        self._pairs, self._behind = findings.pairs, findings.rows
        charts = {name: rate_chart(self.frames[name], name) for name in RATES}
        drawn = {name: chart for name, chart in charts.items() if chart.rows}
        super().__init__(self.title, drawn, name="quality")

    def __repr__(self) -> str:
        lines = [self.title]
        for check, finding, advice, state in self._rows():
            lines.append(f"  {STATE_MARKS[state][0]} {check}: {finding}")
            if state != OK and advice != "nothing":
                lines.append(f"      {advice}")
            if state != OK and check in self._behind:
                lines.append(f"      {self._line(check)}")
        return "\n".join(lines)

    def _table(self) -> Html:
        rows = [
            (state_cell(state), check, finding, self._advice(check, advice, state))
            for check, finding, advice, state in self._rows()
        ]
        heads = ("state", "check", "finding", "what to do")
        cells = (SHORT, SHORT, PROSE, PROSE)
        return table(rows, cells, heads=heads, row_head=1, attributes=COMPACT)

    def _advice(self, check: str, advice: str, state: str) -> Html:
        if state == OK:
            return Html("")
        if check not in self._behind:
            return Html(escape(advice))
        line = Html(f"<code>{escape(self._line(check))}</code>")
        return Html(f"{escape(advice)}{opened(line, self.rows(check))}")

    def _line(self, check: str) -> str:
        """What opens the rows behind a finding."""
        return f'.browse("{check}"): {len(self._behind[check]):,} rows'

    def rows(self, check: str) -> Pairs:
        """Return the items behind a finding, in their order.

        Raises:
            DataError: there is no such check, or no item is behind its finding.
        """
        if check not in self._behind:
            known = ", ".join(map(repr, self._behind)) or "(none)"
            raise DataError(
                f"no rows are behind {check!r}",
                where=f"{self.title}; checks: {', '.join(self.summary['check'])}",
                fix=f"ask for one of those that have rows: {known}",
            )
        return Pairs(rows_in(self._pairs.frame, self._behind[check]))

    def browse(self, check: str) -> "Browser":
        """Open the items behind a finding, as ``wb.browse`` does.

        Raises:
            DataError: as in :meth:`rows`.
        """
        from workbench.widgets.browser.browser import Browser

        return Browser(self.rows(check))

    def _note(self) -> Html:
        return Html(
            'Rows behind a finding: <code>.browse("length")</code> shows them,'
            ' <code>.rows("length")</code> has them as pairs; counted:'
            f" <code>.frames</code> ({', '.join(self.frames)}); drawn large:"
            f" <code>.figures</code> ({', '.join(self.figures) or 'none'})."
        )

    def _rows(self) -> Iterator[tuple[str, str, str, str]]:
        for row in self.summary.itertuples(index=False):
            check, finding, advice, state = map(str, row)
            yield check, finding, advice, state


class _Drawn(NamedTuple):
    """How a frame is drawn: what a row is called, where its rate and the dashed line stand."""

    title: str
    name: Callable[[Any], str]
    column: str
    guide: float
    form: str = ".0%"


def _gap(row: Any) -> str:
    ends = dict.fromkeys([f"{row.gap_from:,}", f"{row.gap_to:,}"])
    return " to ".join(ends)


def _measure(row: Any) -> str:
    return row.measure if row.measure != "Cohen's kappa" else f"Cohen: {row.between}"


RATES = {
    "length": _Drawn("Longer wins, by characters longer", _gap, "rate", 0.5),
    "features": _Drawn(
        "Wins, of the answer that has it alone", lambda row: row.feature, "rate", 0.5
    ),
    "sides": _Drawn("Takes the left side", lambda row: row.annotator, "rate", 0.5),
    "agreement": _Drawn(
        "Agreement, by items labelled twice or more", _measure, "value", 0.0, ".2f"
    ),
    "steadiness": _Drawn(
        "Passes repeats and gold items", lambda row: f"{row.test}: {row.annotator}", "rate", 1.0
    ),
}
MOST_ROWS = 40  # of a chart: more are in the frame


def rate_chart(frame: "DataFrame", name: str) -> RateChart:
    """Return the chart of one of the frames: its rows whose rate is defined."""
    drawn = RATES[name]
    rows = rates(frame, drawn.column, drawn.name)
    return RateChart(drawn.title, "", rows[:MOST_ROWS], drawn.guide, drawn.form, least=0.0)

"""How good a reward model is, as a report to read: sentences, small pictures, Plotly figures."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from workbench.analysis.appraisal import Appraisal
from workbench.analysis.appraisal_summary import SUMMARY_COLUMNS, lines_of, title_of
from workbench.analysis.relabel import relabelled
from workbench.data.arrow_table import frame_of
from workbench.data.pairs import Pairs
from workbench.html_table import Html, escaped, table
from workbench.reports.report import (
    COMPACT,
    PROSE,
    SHORT,
    STATE_MARKS,
    ReportPage,
    known,
    opened,
    rates,
    state_cell,
)
from workbench.reports.svg_charts import (
    MARK,
    WRONG,
    Histogram,
    HistogramBar,
    Point,
    RateChart,
    Series,
    SeriesChart,
    StillChart,
    reference_line,
)

if TYPE_CHECKING:
    from pandas import DataFrame

    from workbench.data.store.labels import StoreOrPath

ALIASES = {"low": "accuracy_low", "high": "accuracy_high"}
VALUE = SHORT.replace("left", "right", 1)


class RewardReport(ReportPage, dict[str, float]):
    """What was found out about a reward model.

    As a mapping it holds the figures: ``report["accuracy"]``, its 95 % interval ``low`` to
    ``high``, ``longer_wins``, ``ceiling`` (NaN where the prompts are not the sample world's),
    ``pairs``, ``ece``, ``brier`` and all of ``frames["figures"]``.

    Attributes:
        summary: a row a figure: its value, its interval, what it means.
        frames: the tables behind: figures, calibration, uncalibrated (as it is without the
            model's sharpness), margins, length, correlation, sources, annotators, subsets,
            sections, pairs.
        figures: a Plotly figure of each that can be drawn.
        worst: the items on which the model is surest and the label says otherwise, surest first;
            ``wb.label(report.worst, store)`` shows them without label, margin or side.
    """

    _table_first = True

    def __init__(self, appraisal: Appraisal, *, name: str, trained_on: int | None = None) -> None:
        numbers = {**appraisal.figures, **{key: float(n) for key, n in appraisal.counts.items()}}
        dict.__init__(self, numbers | {alias: numbers[long] for alias, long in ALIASES.items()})
        self.name = name
        self.title = f"{name} {title_of(appraisal)}"
        self._lines = lines_of(appraisal, trained_on)
        self.summary: DataFrame = frame_of([*self._lines], SUMMARY_COLUMNS)
        self.frames: dict[str, DataFrame] = appraisal.frames
        self.worst, self._items = appraisal.worst, appraisal.items
        ReportPage.__init__(self, self.title, charts(appraisal))

    def __repr__(self) -> str:
        text = [self.title]
        width = max(len(line.figure) for line in self._lines)
        for line in self._lines:
            mark = STATE_MARKS[line.state][0] or " "
            ends = f" ({line.interval})" if line.interval else ""
            text += [
                f"  {mark} {line.figure:<{width}}  {line.value}{ends}",
                f"      {line.meaning}",
            ]
        return "\n".join(text)

    def _table(self) -> Html:
        rows = [
            (
                state_cell(line.state),
                line.figure,
                Html(f"<b>{escaped(line.value)}</b>"),
                line.interval,
                line.meaning,
            )
            for line in self._lines
        ]
        heads = ("", "figure", "value", "95 % interval", "what it means")
        cells = (SHORT, SHORT, VALUE, SHORT, PROSE)
        return table(rows, cells, heads=heads, row_head=1, attributes=COMPACT)

    def _note(self) -> Html:
        worst = (
            f"The {len(self.worst)} worst disagreements are <code>.worst</code>:"
            " <code>wb.label(report.worst, store)</code> asks for them again, blind;"
            " <code>wb.browse(report.worst, store)</code> shows them, and Q sends one there."
            + opened("The worst: the model scores the other answer higher", self.worst)
            if len(self.worst)
            else "It disagrees with no label."
        )
        return Html(
            f"{worst} Rows behind it: <code>.frames</code> ({', '.join(self.frames)}); drawn"
            f" large: <code>.figures</code> ({', '.join(self.figures)})."
        )

    def relabelled(self, store: "StoreOrPath") -> Pairs:
        """Return what was compared, with the store's labels in place of those they had.

        The store may be given by its path.

        To mend training data: evaluate on them, ``wb.label(report.worst, store)``, and train again
        on ``report.relabelled(store)``.
        """
        from workbench.data.store.labels import as_store

        return relabelled(self._items, as_store(store, new=False))

    def saved(self) -> dict[str, Any]:
        """Return the report as plain JSON values, without a row for each comparison."""
        frames = {
            name: frame.to_dict("records")
            for name, frame in self.frames.items()
            if name not in ("pairs", "figures") and len(frame)
        }
        summary = [line._asdict() for line in self._lines]
        return {"title": self.title, "figures": dict(self), "summary": summary, "frames": frames}


# --- what is drawn -------------------------------------------------------------------------------


def charts(appraisal: Appraisal) -> dict[str, StillChart]:
    """Return the charts that have something to show, by name."""
    drawn: dict[str, StillChart] = {
        "calibration": _calibration(appraisal),
        "margins": _margins(appraisal),
    }
    middle = appraisal.figures["accuracy"]
    all_of_it = "dashed: all comparisons"
    wanted: list[tuple[str, str, str, Callable[[Any], str], float]] = [
        ("length", "Accuracy by length gap", _GAP, _gap, middle),
        ("sources", "Accuracy by source", all_of_it, lambda row: row.group, middle),
        ("annotators", "Accuracy by annotator", all_of_it, lambda row: row.group, middle),
        ("subsets", "Accuracy by subset", "dashed: one half", lambda row: row.subset, 0.5),
    ]
    for name, title, under, naming, guide in wanted:
        if len(appraisal.frames[name]) >= (2 if under == all_of_it else 1):
            rows = rates(appraisal.frames[name], "accuracy", naming)
            drawn[name] = RateChart(title, under, rows, guide)
    return drawn


_GAP = "characters that the chosen answer is longer; dashed: all"


def _rows(appraisal: Appraisal, name: str) -> Iterator[Any]:
    return iter(appraisal.frames[name].itertuples(index=False))


def _gap(row: Any) -> str:
    ends = (f"{end:+,}".replace("-", "−") if end else "0" for end in (row.gap_from, row.gap_to))
    return " to ".join(dict.fromkeys(ends))


def _calibration(appraisal: Appraisal) -> SeriesChart:
    series = [reference_line("perfect calibration", [(0.5, 0.5), (1.0, 1.0)])]
    before = [
        Point(row.confidence, row.accuracy, None, None) for row in _rows(appraisal, "uncalibrated")
    ]
    if before:
        name = f"without sharpness ({appraisal.figures['sharpness']:.2f})"
        series.append(Series(name, WRONG, "ring", before))
    points = [
        Point(row.confidence, row.accuracy, known(row.low), known(row.high))
        for row in _rows(appraisal, "calibration")
    ]
    series.append(Series("measured", MARK, "dot", points))
    x, y = "how sure the model is", "how often it is right"
    return SeriesChart("Calibration", x, y, series, x_form=".1%", y_form=".1%")


def _margins(appraisal: Appraisal) -> Histogram:
    bars = [
        HistogramBar(row.margin_from, row.margin_to, row.right, row.wrong)
        for row in _rows(appraisal, "margins")
    ]
    return Histogram("Margins", "score(chosen) − score(rejected), raw", bars)

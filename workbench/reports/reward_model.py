"""How good a reward model is, as a report to read: sentences, small pictures, Plotly figures."""

from collections.abc import Callable, Iterator
from html import escape
from typing import TYPE_CHECKING, Any

from workbench.analysis.appraisal import Appraisal
from workbench.analysis.appraisal_summary import COLUMNS, LOOK, NONE, OK, Line, lines_of, title_of
from workbench.analysis.relabel import relabelled
from workbench.data.arrow_table import frame_of
from workbench.data.pairs import Pairs
from workbench.reports.plotly_figures import Figures
from workbench.reports.svg_charts import Chart, Column, Columns, Dot, Dots, Plot, Point, picture
from workbench.widgets.kit.theme import OKABE_ITO

if TYPE_CHECKING:
    from pandas import DataFrame

    from workbench.data.store.labels import LabelStore

MARKS = {
    OK: ("✓", "fine", OKABE_ITO["green"]),
    LOOK: ("●", "look", OKABE_ITO["vermillion"]),
    NONE: ("", "", "currentColor"),
}
SHORT = {"low": "accuracy_low", "high": "accuracy_high"}


class RewardReport(dict[str, float]):
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

    def __init__(self, found: Appraisal, *, name: str, trained_on: int | None = None) -> None:
        numbers = {**found.figures, **{key: float(n) for key, n in found.counts.items()}}
        super().__init__(numbers | {short: numbers[long] for short, long in SHORT.items()})
        self.name = name
        self.title = f"{name} {title_of(found)}"
        self._lines = lines_of(found, trained_on)
        self.summary: DataFrame = frame_of([*self._lines], COLUMNS)
        self.frames: dict[str, DataFrame] = found.frames
        self.worst, self._items = found.worst, found.items
        self._charts = charts(found)
        self.figures = Figures(self._charts, "report.figures")

    def __repr__(self) -> str:
        return terminal(self.title, self._lines)

    def _repr_html_(self) -> str:
        worst = (
            f"The {len(self.worst)} worst disagreements are <code>.worst</code>:"
            " <code>wb.label(report.worst, store)</code> asks for them again, blind;"
            " <code>wb.browse(report.worst, store)</code> shows them, and Q sends one there."
            if len(self.worst)
            else "It disagrees with no label."
        )
        note = (
            f"{worst} Rows behind it: <code>.frames</code> ({', '.join(self.frames)}); drawn"
            f" large: <code>.figures</code> ({', '.join(self.figures)})."
        )
        return page(self.title, self._lines, [*self._charts.values()], note)

    def relabelled(self, store: "LabelStore") -> Pairs:
        """Return what was compared, with the store's labels in place of those they had.

        To mend training data: evaluate on them, ``wb.label(report.worst, store)``, and train again
        on ``report.relabelled(store)``.
        """
        return relabelled(self._items, store)

    def saved(self) -> dict[str, Any]:
        """Return the report as plain JSON values, without a row for each comparison."""
        frames = {
            name: frame.to_dict("records")
            for name, frame in self.frames.items()
            if name not in ("pairs", "figures") and len(frame)
        }
        summary = [line._asdict() for line in self._lines]
        return {"title": self.title, "figures": dict(self), "summary": summary, "frames": frames}


def terminal(title: str, lines: list[Line]) -> str:
    """Return the lines as text."""
    said = [title]
    width = max(len(line.figure) for line in lines)
    for line in lines:
        ends = f" ({line.interval})" if line.interval else ""
        said.append(f"  {MARKS[line.state][0] or ' '} {line.figure:<{width}}  {line.value}{ends}")
        said.append(f"      {line.meaning}")
    return "\n".join(said)


def page(title: str, lines: list[Line], drawn: list[Chart], note: str) -> str:
    """Return the lines and pictures as HTML that needs no script; ``note`` is HTML already."""
    cell = "text-align:left;vertical-align:top;padding:4px 12px 4px 0;white-space:normal"
    tight = f"{cell};white-space:nowrap"
    rows = ""
    for line in lines:
        mark, word, colour = MARKS[line.state]
        rows += (
            f"<tr><td style='{tight}'><span aria-hidden='true' style='color:{colour}'>{mark}</span>"
            f" {word}</td><th scope='row' style='{tight}'>{escape(line.figure)}</th>"
            f"<td style='{tight};text-align:right'><b>{escape(line.value)}</b></td>"
            f"<td style='{tight}'>{escape(line.interval)}</td>"
            f"<td style='{cell};opacity:.85'>{escape(line.meaning)}</td></tr>"
        )
    heads = "".join(
        f"<th scope='col' style='{cell}'>{name}</th>"
        for name in ("", "figure", "value", "95 % interval", "what it means")
    )
    return (
        f"<div style='font-size:13px;max-width:1060px'><p style='margin:0 0 6px'>"
        f"<b>{escape(title)}</b></p><table style='border-collapse:collapse;font-size:13px'>"
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        f"<div style='display:flex;flex-wrap:wrap;gap:16px 22px;margin-top:12px'>"
        f"{''.join(map(picture, drawn))}</div>"
        f"<p style='opacity:.75;margin:8px 0 0'>{note}</p></div>"
    )


# --- what is drawn -------------------------------------------------------------------------------


def charts(found: Appraisal) -> dict[str, Chart]:
    """Return the charts that have something to show, by name."""
    drawn: dict[str, Chart] = {"calibration": _calibration(found), "margins": _margins(found)}
    middle = found.figures["accuracy"]
    all_of_it = "dashed: all comparisons"
    dots: list[tuple[str, str, str, Callable[[Any], str], float]] = [
        ("length", "Accuracy by length gap", _GAP, _gap, middle),
        ("sources", "Accuracy by source", all_of_it, lambda row: row.group, middle),
        ("annotators", "Accuracy by annotator", all_of_it, lambda row: row.group, middle),
        ("subsets", "Accuracy by subset", "dashed: one half", lambda row: row.subset, 0.5),
    ]
    for name, title, under, naming, guide in dots:
        if len(found.frames[name]) >= (2 if under == all_of_it else 1):
            rows = [
                Dot(naming(row), row.accuracy, _known(row.low), _known(row.high))
                for row in _rows(found, name)
            ]
            drawn[name] = Dots(title, under, rows, guide)
    return drawn


_GAP = "characters that the chosen answer is longer; dashed: all"


def _rows(found: Appraisal, name: str) -> Iterator[Any]:
    return iter(found.frames[name].itertuples(index=False))


def _known(value: Any) -> float | None:
    return None if value is None or value != value else float(value)


def _gap(row: Any) -> str:
    if row.gap_from == row.gap_to:
        return f"{row.gap_from:+,}"
    return f"{row.gap_from:+,} to {row.gap_to:+,}"


def _calibration(found: Appraisal) -> Plot:
    points, before = (
        [
            Point(row.confidence, row.accuracy, _known(row.low), _known(row.high))
            for row in _rows(found, name)
        ]
        for name in ("calibration", "uncalibrated")
    )
    return Plot(
        title="Calibration",
        x_title="how sure the model is",
        y_title="how often it is right",
        points=points,
        line=[(0.5, 0.5), (1.0, 1.0)],
        line_name="perfect calibration",
        rings=before,
        ring_name=f"without sharpness ({found.figures['sharpness']:.2f})",
    )


def _margins(found: Appraisal) -> Columns:
    columns = [
        Column(row.margin_from, row.margin_to, row.right, row.wrong)
        for row in _rows(found, "margins")
    ]
    return Columns("Margins", "score(chosen) − score(rejected), raw", columns)

"""A learning curve as a report to read: what more labels are worth."""

from html import escape
from typing import TYPE_CHECKING, NamedTuple

from workbench.analysis.learning_curve import MORE, Curve, sentence, warning
from workbench.data.arrow_table import frame_of
from workbench.reports.plotly_figures import Figures
from workbench.reports.svg_charts import Chart, Plot, Point, picture

if TYPE_CHECKING:
    from pandas import DataFrame

    from workbench.reports.reward_model import RewardReport
    from workbench.runs.run import Run

STEPS = 40  # points of the fitted line


class Size(NamedTuple):
    """What one model of the curve learned from, and what it reached."""

    labels: int
    accuracy: float
    low: float
    high: float
    ece: float
    loss: float
    run: str


class LearningCurve:
    """Reward models trained on nested shares of the labels, all measured on the same items.

    Attributes:
        frame: a row a size: labels, accuracy and its 95 % interval, ece, loss, run.
        curve: the fitted line.
        sentence: what more labels are worth.
        warning: where there are few labels; else empty.
        reports: a :class:`~workbench.reports.reward_model.RewardReport` a size.
        runs: the training runs.
        figures: ``figures["accuracy"]``, a Plotly figure.
    """

    def __init__(
        self, labels: "list[int]", reports: "list[RewardReport]", runs: "list[Run]", curve: Curve
    ) -> None:
        self.curve, self.reports, self.runs = curve, reports, runs
        self._sizes = [
            Size(
                labels=size,
                accuracy=report["accuracy"],
                low=report["low"],
                high=report["high"],
                ece=report["ece"],
                loss=report["loss"],
                run=run.name,
            )
            for size, report, run in zip(labels, reports, runs, strict=True)
        ]
        self.frame: DataFrame = frame_of([*self._sizes], Size._fields)
        self.sentence = sentence(curve, int(reports[-1]["items"]))
        self.warning = warning(labels[-1])
        self._chart = self._drawn(labels)
        self.figures = Figures({"accuracy": self._chart}, "curve.figures")

    def _drawn(self, labels: list[int]) -> Chart:
        points = [Point(row.labels, row.accuracy, row.low, row.high) for row in self._sizes]
        ends = labels[0], labels[-1] + MORE
        way = [ends[0] * (ends[1] / ends[0]) ** (n / STEPS) for n in range(STEPS + 1)]
        return Plot(
            title="Held-out accuracy by number of labels",
            x_title="labels trained on",
            y_title="accuracy",
            points=points,
            line=[(x, min(1.0, self.curve.at(x))) for x in way],
            line_name=f"the fitted line, {MORE} labels further",
            log_x=True,
        )

    def __repr__(self) -> str:
        rows = [
            f"  {row.labels:>7,} labels  {row.accuracy:.1%} ({row.low:.1%} to {row.high:.1%})"
            for row in self._sizes
        ]
        return "\n".join([self.sentence, *rows, *([self.warning] if self.warning else [])])

    def _repr_html_(self) -> str:
        right = "text-align:right;padding:3px 14px 3px 0"
        heads = "".join(
            f"<th scope='col' style='{right}'>{name}</th>"
            for name in ("labels", "accuracy", "95 % interval", "ECE", "run")
        )
        rows = "".join(
            f"<tr><td style='{right}'>{row.labels:,}</td><td style='{right}'><b>{row.accuracy:.1%}"
            f"</b></td><td style='{right}'>{row.low:.1%} to {row.high:.1%}</td>"
            f"<td style='{right}'>{row.ece:.3f}</td><td style='{right}'>{escape(row.run)}</td></tr>"
            for row in self._sizes
        )
        warned = f"<p style='margin:8px 0 0'>● {escape(self.warning)}</p>" if self.warning else ""
        return (
            f"<div style='font-size:13px;max-width:1060px'><p style='margin:0 0 6px'>"
            f"<b>{escape(self.sentence)}</b></p><div style='display:flex;flex-wrap:wrap;"
            f"gap:16px 26px;align-items:flex-start'>{picture(self._chart)}"
            f"<table style='border-collapse:collapse;font-size:13px'><thead><tr>{heads}</tr>"
            f"</thead><tbody>{rows}</tbody></table></div>{warned}"
            "<p style='opacity:.75;margin:8px 0 0'>"
            f"One run a size, all measured on the same {int(self.reports[-1]['items']):,} held-out"
            " items; the interval of the gain is over these items, not over other runs. Each"
            " size's report: <code>.reports</code>.</p></div>"
        )

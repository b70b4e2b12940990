"""A learning curve as a report to read: what more labels are worth."""

from typing import TYPE_CHECKING, NamedTuple

from workbench.analysis.learning_curve import MORE, LabelsLine, few_labels, worth_in_words
from workbench.data.arrow_table import frame_of
from workbench.html_table import Html, table
from workbench.reports.report import COMPACT, RIGHT, ReportPage
from workbench.reports.svg_charts import MARK, Point, Series, SeriesChart, reference_line

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


class LearningCurve(ReportPage):
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
        self,
        labels: "list[int]",
        reports: "list[RewardReport]",
        runs: "list[Run]",
        curve: LabelsLine,
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
        self.warning = few_labels(labels[-1])
        verdict = worth_in_words(curve, int(reports[-1]["items"]))
        super().__init__(verdict, {"accuracy": self._drawn(labels)}, name="curve")

    def _drawn(self, labels: list[int]) -> SeriesChart:
        points = [Point(row.labels, row.accuracy, row.low, row.high) for row in self._sizes]
        ends = labels[0], labels[-1] + MORE
        way = [ends[0] * (ends[1] / ends[0]) ** (n / STEPS) for n in range(STEPS + 1)]
        fitted = [(x, min(1.0, self.curve.at(x))) for x in way]
        series = [
            reference_line(f"the fitted line, {MORE} labels further", fitted),
            Series("measured", MARK, "dot", points),
        ]
        return SeriesChart(
            "Held-out accuracy by number of labels",
            "labels trained on",
            "accuracy",
            series,
            x_form=",.0f",
            y_form=".1%",
            log_x=True,
        )

    def __repr__(self) -> str:
        rows = [
            f"  {row.labels:>7,} labels  {row.accuracy:.1%} ({row.low:.1%} to {row.high:.1%})"
            for row in self._sizes
        ]
        return "\n".join([self.sentence, *rows, *([self.warning] if self.warning else [])])

    def _table(self) -> Html:
        rows = [
            [
                f"{row.labels:,}",
                Html(f"<b>{row.accuracy:.1%}</b>"),
                f"{row.low:.1%} to {row.high:.1%}",
                f"{row.ece:.3f}",
                row.run,
            ]
            for row in self._sizes
        ]
        heads = ("labels", "accuracy", "95 % interval", "ECE", "run")
        return table(rows, RIGHT, heads=heads, attributes=COMPACT)

    def _note(self) -> Html:
        return Html(
            f"One run a size, all measured on the same {int(self.reports[-1]['items']):,} held-out"
            " items; the interval of the gain is over these items, not over other runs. Each"
            " size's report: <code>.reports</code>."
        )

"""Best-of-n as a report to read: what choosing among n answers brings, and what it costs."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from workbench.analysis.best_of_n import best_of, kl_bound, level
from workbench.analysis.intervals import Floats
from workbench.data.arrow_table import frame_of
from workbench.html_table import Html, table
from workbench.reports.report import COMPACT, RIGHT, ReportPage
from workbench.reports.svg_charts import Point, Series, SeriesChart
from workbench.widgets.kit.theme import OKABE_ITO

if TYPE_CHECKING:
    from pandas import DataFrame


class ScoreKind(NamedTuple):
    """One way to score an answer: what it is called, its unit, how it is drawn."""

    name: str
    words: str
    unit: str
    colour: str
    mark: str


SCORE_KINDS = {
    "score": ScoreKind("score", "reward score", "points", OKABE_ITO["blue"], "dot"),
    "heldout": ScoreKind("heldout", "watched score", "points", OKABE_ITO["orange"], "square"),
    "gold": ScoreKind("gold", "gold score", "0 to 1", OKABE_ITO["green"], "dot"),
}
X_TITLE = "√KL to the reference, √nats"


class BestOfN(ReportPage):
    """What the best of n answers is worth, chosen by the reward score, for each n.

    Attributes:
        frame: a row for each n: its KL bound [nats], and the mean of each measure with its 95 %
            interval over prompts (``score``, ``score_low``, ``score_high``, …).
        answers: a row for each answer that was drawn: prompt, answer, score, heldout, gold.
        sizes: the values of n.
        values: by measure ``(P, sizes)``, a row a prompt.
        prompts, drawn: how many prompts, and how many answers to each.
        sentence: what it comes to.
        figures: ``scores`` and, where there is a judge, ``gold``, against the root of the bound.
    """

    def __init__(
        self,
        prompts: Sequence[str],
        answers: Sequence[Sequence[dict[str, Any]]],
        sizes: Sequence[int],
        *,
        name: str,
    ) -> None:
        self.name, self.sizes = name, list(sizes)
        self.prompts, self.drawn = len(answers), len(answers[0])
        first = answers[0][0]
        names = [kind for kind in SCORE_KINDS if kind in first]
        tables = {n: np.array([[row[n] for row in rows] for rows in answers]) for n in names}
        self.values = {n: best_of(tables["score"], tables[n], self.sizes) for n in names}
        self.frame: DataFrame = self._frame()
        flat = [(p, row) for p, rows in zip(prompts, answers, strict=True) for row in rows]
        self.answers: DataFrame = frame_of(
            [(p, row["text"], *(row[n] for n in names)) for p, row in flat],
            ["prompt", "answer", *names],
        )
        super().__init__(self._sentence(), self._drawn())

    def _frame(self) -> "DataFrame":
        names = ["n", "kl_bound"]
        rows: list[list[Any]] = [[n, kl_bound(n)] for n in self.sizes]
        for name, values in self.values.items():
            names += [name, f"{name}_low", f"{name}_high"]
            for row, column in zip(rows, values.T, strict=True):
                row.extend(level(column))
        return frame_of([tuple(row) for row in rows], names)

    def points(self, name: str) -> list[Point]:
        """Return a measure against the root of the KL bound."""
        return [
            Point(math.sqrt(kl_bound(n)), *level(values))
            for n, values in zip(self.sizes, self.values[name].T, strict=True)
        ]

    def series(self, name: str) -> Series:
        """Return a measure as a line with open marks."""
        kind, points = SCORE_KINDS[name], self.points(name)
        return Series(
            f"best of n, {kind.words}",
            kind.colour,
            "diamond",
            points,
            line=[(p.x, p.y) for p in points],
            labels=[f"best of {n}, at most {kl_bound(n):.2f} nats" for n in self.sizes],
        )

    def _drawn(self) -> dict[str, SeriesChart]:
        scores = [self.series(n) for n in ("score", "heldout") if n in self.values]
        x = "√(KL's upper bound), √nats"
        charts = {"scores": SeriesChart("Best of n: scores", x, "points", scores)}
        if "gold" in self.values:
            charts["gold"] = SeriesChart(
                "Best of n: gold score", x, "0 to 1", [self.series("gold")]
            )
        return charts

    def _sentence(self) -> str:
        name = next(n for n in ("gold", "heldout", "score") if n in self.values)
        points = self.points(name)
        top = max(range(len(points)), key=lambda i: points[i].y)
        one, most, words = points[0].y, points[top].y, SCORE_KINDS[name].words
        if self.sizes[0] != 1:
            start = f"The {words} is {most:.3f}"
        elif top == 0:
            return f"The {words} is {one:.3f} for one answer of {self.name}; more bring nothing."
        else:
            start = f"The {words} is {one:.3f} for one answer of {self.name}, {most:.3f}"
        return (
            f"{start} for the best of {self.sizes[top]} by the reward score, which costs at most"
            f" {kl_bound(self.sizes[top]):.2f} nats."
        )

    def __repr__(self) -> str:
        return f"{self.sentence}\n{self.frame.round(3).to_string(index=False)}"

    def _table(self) -> Html:
        rows = [
            [str(n), f"≤ {kl_bound(n):.2f}", *(_mean(v[:, i]) for v in self.values.values())]
            for i, n in enumerate(self.sizes)
        ]
        heads = ["n", "KL, nats", *(SCORE_KINDS[name].words for name in self.values)]
        return table(rows, RIGHT, heads=heads, attributes=COMPACT)

    def _note(self) -> Html:
        return Html(
            f"{self.drawn} answers to each of {self.prompts} prompts; each n is the mean over all"
            " subsets of n of them, with its 95 % interval over prompts. The KL is an upper bound,"
            " log n − (n − 1) / n. Rows behind it: <code>.frame</code>, <code>.answers</code>;"
            " drawn large: <code>.figures</code>."
        )


def _mean(values: Floats) -> Html:
    mean, low, _ = level(values)
    ends = "" if low is None else f" <small>± {mean - low:.3f}</small>"
    return Html(f"<b>{mean:.3f}</b>{ends}")

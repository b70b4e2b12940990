"""A method beside the optimum, as a report to read."""

from typing import TYPE_CHECKING, Any

from workbench.data.arrow_table import frame_of
from workbench.html_table import Html, table
from workbench.reports.report import COMPACT, LEFT, RIGHT, ReportPage
from workbench.reports.svg_charts import Point, Series, SeriesChart
from workbench.widgets.kit.theme import OKABE_ITO

if TYPE_CHECKING:
    from pandas import DataFrame

ENOUGH = {"online_dpo": 0.90, "dpo": 0.0}  # of what can be gained; of the others OTHERS
OTHERS = 0.95
ERRORS = 4.0  # standard errors that the reported KL may lie from the exact one
FEW = 100  # times in the pairs
TABLE_ROWS = 8  # answers in the page's table
POLICIES = ("reference", "optimum", "policy")
METHOD_NAMES = {
    "ppo": "PPO",
    "rloo": "RLOO",
    "group": "Group",
    "dpo": "DPO",
    "online_dpo": "Online DPO",
}


class AnalyticCheck(ReportPage):
    """What a method came to on a model whose best policy is known.

    Attributes:
        share: (J − J_ref) / (J* − J_ref), J = E[r] − β·KL: how much of what can be gained it got.
        reference, best, reached: J of the reference, of the optimum, and of the policy.
        kl, reported, error: exact KL [nats]; the KL measured from samples; its standard error.
        passed: as much was gained as can be asked (PPO, RLOO and group 95 %, online DPO 90 %; of
            DPO nothing, since it depends on its pairs), and the KL that was reported is the exact
            one.
        frame: a row an answer: its reward, its probability under reference, optimum and policy,
            and how often it was seen in DPO's pairs.
        worth: J after each step, the reference first.
        figures: ``gain`` (J by update) and ``probabilities``.
    """

    def __init__(self, result: dict[str, Any], method: str = "ppo") -> None:
        self.method = METHOD_NAMES[method]
        self.worth = [float(value) for value in result["worth"]]
        self.reference, self.reached, self.best = self.worth[0], self.worth[-1], result["best"]
        self.share = (self.reached - self.reference) / (self.best - self.reference)
        self.kl, self.reported, self.error = result["kl"], result["reported"], result["error"]
        enough = self.share >= ENOUGH.get(method, OTHERS)
        self.passed = enough and abs(self.reported - self.kl) <= ERRORS * self.error
        self._rows = sorted(result["answers"], key=lambda row: -row["optimum"])
        names = list(self._rows[0])
        self.frame: DataFrame = frame_of([tuple(row.values()) for row in self._rows], names)
        charts = {"gain": self._gain(), "probabilities": self._probabilities()}
        mark = "✓" if self.passed else "✗"
        super().__init__(
            f"{mark} {self.method} gained {self.share:.1%} of what can be gained:"
            f" J = {self.reached:.3f}, from {self.reference:.3f}, where the best is"
            f" {self.best:.3f}. Its KL is {self.kl:.3f} nats by counting,"
            f" {self.reported:.3f} ± {self.error:.3f} as reported.",
            charts,
            name="check",
        )

    def _remark(self) -> str:
        """Why pairs that were drawn before miss the optimum: what they never showed."""
        seen = [row for row in self._rows if row["seen"] is not None]
        if not seen:
            return ""
        lacks = {row["text"]: max(0.0, row["optimum"] - row["policy"]) for row in seen}
        rare = [row["text"] for row in seen if row["seen"] < FEW]
        pairs, share = sum(row["seen"] for row in seen) // 2, sum(lacks[text] for text in rare)
        return (
            f"It learned from {pairs:,} pairs of the reference's own answers: {len(rare)} of the"
            f" {len(seen)} answers are in them fewer than {FEW} times, and theirs is"
            f" {share / (sum(lacks.values()) or 1.0):.0%} of the probability that it lacks beside"
            " the optimum. What such pairs show rarely is known badly however long one learns;"
            " online DPO draws new answers where it is now."
        )

    def _gain(self) -> SeriesChart:
        points = [Point(float(n), value, None, None) for n, value in enumerate(self.worth)]
        line = [(point.x, point.y) for point in points]
        own = Series(self.method, OKABE_ITO["blue"], "dot", points, line=line)
        end = points[-1].x
        top = [Point(end, self.best, None, None)]
        level = [(0.0, self.best), (end, self.best)]
        best = Series("optimum J*", OKABE_ITO["green"], "diamond", top, level, dashed=True)
        return SeriesChart(
            "Worth of the policy, counted", "step", "J = E[r] − β·KL, reward", [own, best]
        )

    def _probabilities(self) -> SeriesChart:
        rows = self._rows
        labels = [f"{row['text']}, reward {row['reward']:+.2f}" for row in rows]
        diagonal = (0.0, 0.0), (rows[0]["optimum"], rows[0]["optimum"])

        def against(name: str) -> list[Point]:
            return [Point(row["optimum"], row[name], None, None) for row in rows]

        series = [
            Series("reference", OKABE_ITO["orange"], "ring", against("reference"), labels=labels),
            Series(self.method, OKABE_ITO["blue"], "dot", against("policy"), labels=labels),
            Series(
                "optimum", OKABE_ITO["green"], "diamond", against("optimum")[:1], diagonal, True
            ),
        ]
        x = "probability under π* ∝ π_ref·exp(r/β)"
        return SeriesChart("The 57 answers", x, "probability", series)

    def __repr__(self) -> str:
        rows = self.frame.head(TABLE_ROWS).round(3).to_string(index=False)
        return f"{self.sentence}\n{rows}"

    def _table(self) -> Html:
        rows = [
            [row["text"], f"{row['reward']:+.2f}", *(f"{row[name]:.1%}" for name in POLICIES)]
            for row in self._rows[:TABLE_ROWS]
        ]
        heads = ("answer", "reward", "reference", "optimum", self.method)
        return table(rows, (LEFT, *[RIGHT] * 4), heads=heads, attributes=COMPACT)

    def _note(self) -> Html:
        return Html(
            f"The {TABLE_ROWS} answers that the optimum likes best; all {len(self._rows)}:"
            " <code>.frame</code>; drawn large: <code>.figures</code>."
        )

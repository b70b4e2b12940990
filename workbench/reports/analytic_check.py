"""PPO beside the optimum, as a report to read."""

from html import escape
from typing import TYPE_CHECKING, Any

from workbench.data.arrow_table import frame_of
from workbench.reports.plotly_figures import Figures
from workbench.reports.series import Field, Series, picture
from workbench.reports.svg_charts import Point
from workbench.widgets.kit.theme import OKABE_ITO

if TYPE_CHECKING:
    from pandas import DataFrame

ENOUGH = 0.95  # of what can be gained
ERRORS = 4.0  # standard errors that the reported KL may lie from the exact one
SHOWN = 8  # answers in the page's table


class AnalyticCheck:
    """What PPO came to on a model whose best policy is known.

    Attributes:
        share: (J − J_ref) / (J* − J_ref), J = E[r] − β·KL: how much of what can be gained it got.
        reference, best, reached: J of the reference, of the optimum, and of PPO's policy.
        kl, reported, error: exact KL [nats]; the KL measured from samples; its standard error.
        passed: at least 95 % was gained, and the KL that was reported is the exact one.
        frame: a row an answer: its reward, and its probability under reference, optimum and ppo.
        worth: J after each update, the reference first.
        figures: ``gain`` (J by update) and ``probabilities``.
    """

    def __init__(self, found: dict[str, Any]) -> None:
        self.worth = [float(value) for value in found["worth"]]
        self.reference, self.reached, self.best = self.worth[0], self.worth[-1], found["best"]
        self.share = (self.reached - self.reference) / (self.best - self.reference)
        self.kl, self.reported, self.error = found["kl"], found["reported"], found["error"]
        self.passed = self.share >= ENOUGH and abs(self.reported - self.kl) <= ERRORS * self.error
        self._rows = sorted(found["answers"], key=lambda row: -row["optimum"])
        names = list(self._rows[0])
        self.frame: DataFrame = frame_of([tuple(row.values()) for row in self._rows], names)
        self._charts = {"gain": self._gain(), "probabilities": self._probabilities()}
        self.figures = Figures(self._charts, "check.figures")

    @property
    def sentence(self) -> str:
        """What came of it."""
        mark = "✓" if self.passed else "✗"
        return (
            f"{mark} PPO gained {self.share:.1%} of what can be gained: J = {self.reached:.3f},"
            f" from {self.reference:.3f}, where the best is {self.best:.3f}. Its KL is"
            f" {self.kl:.3f} nats by counting, {self.reported:.3f} ± {self.error:.3f} as reported."
        )

    def _gain(self) -> Field:
        points = [Point(float(n), value, None, None) for n, value in enumerate(self.worth)]
        ppo = Series("PPO", OKABE_ITO["blue"], "dot", points, line=[(p.x, p.y) for p in points])
        end = points[-1].x
        top = [Point(end, self.best, None, None)]
        best = Series(
            "optimum J*",
            OKABE_ITO["green"],
            "diamond",
            top,
            line=[(0.0, self.best), (end, self.best)],
            dashed=True,
        )
        return Field("Worth of the policy, counted", "update", "J = E[r] − β·KL", [ppo, best])

    def _probabilities(self) -> Field:
        rows = self._rows
        said = [f"{row['text']}, reward {row['reward']:+.2f}" for row in rows]
        diagonal = (0.0, 0.0), (rows[0]["optimum"], rows[0]["optimum"])

        def against(name: str) -> list[Point]:
            return [Point(row["optimum"], row[name], None, None) for row in rows]

        series = [
            Series("reference", OKABE_ITO["orange"], "ring", against("reference"), said=said),
            Series("PPO", OKABE_ITO["blue"], "dot", against("ppo"), said=said),
            Series(
                "optimum", OKABE_ITO["green"], "diamond", against("optimum")[:1], diagonal, True
            ),
        ]
        x = "probability under π* ∝ π_ref·exp(r/β)"
        return Field("The 57 answers", x, "probability", series)

    def __repr__(self) -> str:
        table = self.frame.head(SHOWN).round(3).to_string(index=False)
        return f"{self.sentence}\n{table}"

    def _repr_html_(self) -> str:
        right = "text-align:right;padding:3px 14px 3px 0"
        left = "text-align:left;padding:3px 14px 3px 0"
        heads = "".join(
            f"<th scope='col' style='{right}'>{name}</th>"
            for name in ("reward", "reference", "optimum", "PPO")
        )
        rows = "".join(
            f"<tr><td style='{left}'>{escape(row['text'])}</td>"
            f"<td style='{right}'>{row['reward']:+.2f}</td>"
            + "".join(
                f"<td style='{right}'>{row[name]:.1%}</td>"
                for name in ("reference", "optimum", "ppo")
            )
            + "</tr>"
            for row in self._rows[:SHOWN]
        )
        return (
            f"<div style='font-size:13px;max-width:1060px'><p style='margin:0 0 6px'><b>"
            f"{escape(self.sentence)}</b></p><div style='display:flex;flex-wrap:wrap;"
            f"gap:16px 26px;align-items:flex-start'>{''.join(map(picture, self._charts.values()))}"
            f"<table style='border-collapse:collapse;font-size:13px'><thead><tr>"
            f"<th scope='col' style='{left}'>answer</th>{heads}</tr></thead><tbody>{rows}</tbody>"
            "</table></div><p style='opacity:.75;margin:8px 0 0'>"
            f"The {SHOWN} answers that the optimum likes best; all {len(self._rows)}:"
            " <code>.frame</code>; drawn large: <code>.figures</code>.</p></div>"
        )

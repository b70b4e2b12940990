"""A PPO run against √KL: what it was paid for, what that was worth, and where it turned."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from workbench.analysis.best_of_n import kl_bound
from workbench.analysis.intervals import Floats
from workbench.analysis.overoptimisation import Peak, peak_of_best_of_n, peak_of_run
from workbench.data.arrow_table import frame_of
from workbench.errors import ConfigError
from workbench.html_table import Html
from workbench.reports.best_of_n import SCORE_KINDS, X_TITLE, BestOfN
from workbench.reports.report import ReportPage
from workbench.reports.svg_charts import Point, Series, SeriesChart

if TYPE_CHECKING:
    from pandas import DataFrame

METRICS = {"score": "objective/scores", "heldout": "heldout/scores", "gold": "objective/gold"}
STEPS = 60  # corners of a fitted line
LAST = 5  # updates that "in the end" is the mean of


class Fitted(NamedTuple):
    """One row of ``frames["fits"]``: a curve, and its peak in nats."""

    of: str
    measure: str
    form: str
    start: float
    alpha: float
    beta: float
    peak_kl: float | None
    low: float | None
    high: float | None
    within: float
    found: bool

    @classmethod
    def by(cls, of: str, measure: str, fit: Peak) -> "Fitted":
        """The row of a fit, whose places are √KL."""
        ends = (fit.curve.peak, fit.low, fit.high)
        peak, low, high = (None if d is None or d * d == math.inf else d * d for d in ends)
        return cls(of, measure, *fit.curve, peak, low, high, fit.within, fit.has_turned)


class Overoptimisation(ReportPage):
    """What a run's policy was paid, and what its answers were worth, against the root of its KL.

    Attributes:
        sentence: whether it has gone too far, and where its peak was.
        frames: ``updates`` (a row an update: step, kl, score, heldout, gold) and ``fits`` (a row a
            fitted curve: form, R0, alpha, beta, the peak's KL with its 95 % interval, the share of
            resamples with a peak among what was seen, and whether that is enough).
        figures: ``scores`` and, where there is a judge, ``gold``.
    """

    def __init__(self, metrics: "DataFrame", name: str, best_of_n: BestOfN | None = None) -> None:
        self.name, self.best_of_n = name, best_of_n
        table = _columns(metrics, name)
        self._kl = table["kl"]
        self._d = np.sqrt(np.clip(table["kl"], 0.0, None))  # k1 is below 0 by chance at first
        self._values = {n: table[n] for n in SCORE_KINDS if n in table}
        self.fits = {n: peak_of_run(self._d, values) for n, values in self._values.items()}
        self.judged = next((n for n in ("gold", "heldout") if n in self._values), None)
        names = ["step", "kl", *self._values]
        rows = list(zip(*(table[n].tolist() for n in names), strict=True))
        self.frames: dict[str, DataFrame] = {
            "updates": frame_of(rows, names).astype({"step": int}),
            "fits": frame_of([*self._fit_rows()], Fitted._fields),
        }
        super().__init__(self._sentence(), self._drawn(), name="view")

    def _fit_rows(self) -> list[Fitted]:
        rows = [Fitted.by(self.name, n, fit) for n, fit in self.fits.items() if fit is not None]
        if self.best_of_n is None or len(self.best_of_n.sizes) < 4:
            return rows
        best = self.best_of_n
        d = np.sqrt([kl_bound(n) for n in best.sizes])
        return rows + [
            Fitted.by("best of n", n, peak_of_best_of_n(d, v)) for n, v in best.values.items()
        ]

    # --- in words ------------------------------------------------------------------------------

    def _sentence(self) -> str:
        if self.judged is None:
            return (
                "Only the reward score was logged, and it cannot tell whether it is being fooled:"
                " give train_ppo a heldout_reward."
            )
        values, words = self._values[self.judged], SCORE_KINDS[self.judged].words
        fit = self.fits[self.judged]
        kl, last = float(self._kl[-LAST:].mean()), float(values[-LAST:].mean())
        now = f"In the end, at {max(kl, 0.0):.1f} nats, it is {last:.2f}."
        if fit is None:
            return f"Too few updates for a curve of the {words}. {now}"
        peak = fit.curve.peak
        if not fit.has_turned or peak is None or fit.low is None or fit.high is None:
            some = f"; {fit.within:.0%} of resamples have one" if fit.within > 0.05 else ""
            return f"No peak yet: the {words} has not turned down for certain{some}. {now}"
        return (
            f"The {words} peaks at {peak**2:.1f} nats (95 % interval {fit.low**2:.1f} to"
            f" {fit.high**2:.1f}), at about {fit.curve.at(peak):.2f}. {now}"
        )

    def _remark(self) -> str:
        """The run beside best-of-n, where both reached the same KL."""
        if self.best_of_n is None or self.judged not in self.best_of_n.values:
            return ""
        best, name = self.best_of_n, str(self.judged)
        curve, points = self.fits[name], self.best_of_n.points(name)
        reach = float(self._d.max())
        shared = [(n, p) for n, p in zip(best.sizes, points, strict=True) if 0 < p.x <= reach]
        if curve is None or not shared:
            return "The run has not come as far as the first step of best-of-n."
        n, point = shared[-1]
        return (
            f"At {point.x**2:.2f} nats the run's curve is at {curve.curve.at(point.x):.2f} and the"
            f" best of {n} at {point.y:.2f}, which costs at most so much."
        )

    # --- drawn ---------------------------------------------------------------------------------

    def _drawn(self) -> dict[str, SeriesChart]:
        scores = self._field("Scores", "points", ("score", "heldout"))
        if "gold" not in self._values:
            return {"scores": scores}
        return {"scores": scores, "gold": self._field("Gold score", "0 to 1", ("gold",))}

    def _field(self, title: str, unit: str, names: Sequence[str]) -> SeriesChart:
        shown = [n for n in names if n in self._values]
        series = [self._series(n) for n in shown]
        best = self.best_of_n
        if best is not None:
            series += [best.series(n) for n in shown if n in best.values]
        guides = [self._guide(n) for n in shown if n == self.judged]
        return SeriesChart(title, X_TITLE, unit, series, [g for g in guides if g is not None])

    def _guide(self, name: str) -> tuple[float, str] | None:
        fit = self.fits[name]
        peak = None if fit is None or not fit.has_turned else fit.curve.peak
        return None if peak is None else (peak, f"peak, {peak**2:.1f} nats")

    def _series(self, name: str) -> Series:
        measure, fit = SCORE_KINDS[name], self.fits[name]
        steps, xs, ys = (
            self.frames["updates"]["step"],
            self._d.tolist(),
            self._values[name].tolist(),
        )
        return Series(
            f"PPO, {measure.words}",
            measure.colour,
            measure.mark,
            [Point(x, y, None, None) for x, y in zip(xs, ys, strict=True)],
            line=() if fit is None else _line(fit),
            dashed=True,
            fitted=True,
            labels=[f"update {s}, {kl:.2f} nats" for s, kl in zip(steps, self._kl, strict=True)],
        )

    def __repr__(self) -> str:
        fits = self.frames["fits"].round(3).to_string(index=False)
        return "\n".join(filter(None, [self.name, self.sentence, self._remark(), fits]))

    def _note(self) -> Html:
        best = (
            "Diamonds: best of n, at an upper bound of its KL."
            if self.best_of_n is not None
            else "With <code>best_of_n=wb.best_of_n(…)</code> its frontier stands beside the run."
        )
        return Html(
            "A mark an update, from the answers that it"
            " learned from. Dashed: R0 + d·(α − β·log d) with d = √KL, by least squares; the"
            f" interval comes from drawing blocks of updates again. {best} Rows behind it:"
            " <code>.frames</code> (updates, fits); drawn large: <code>.figures</code>."
        )


def _columns(metrics: "DataFrame", name: str) -> dict[str, Floats]:
    """Step, KL and what was measured, of the updates that have all of it.

    Raises:
        ConfigError: this is no PPO run, or it has not done an update.
    """
    if "objective/kl" not in metrics or not len(metrics):
        raise ConfigError(
            "there is no update of PPO to look at",
            where=name,
            fix="give a run of train_ppo that has done at least one update",
        )
    measures = {n: m for n, m in METRICS.items() if m in metrics and bool(metrics[m].count())}
    names = {"step": "step", "kl": "objective/kl", **measures}
    kept: Any = metrics[list(names.values())].dropna()
    return {n: np.asarray(kept[column], dtype=np.float64) for n, column in names.items()}


def _line(fit: Peak) -> list[tuple[float, float]]:
    places = [fit.seen * n / STEPS for n in range(STEPS + 1)]
    return [(x, fit.curve.at(x)) for x in places]

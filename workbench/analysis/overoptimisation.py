"""Where more optimisation stops being worth it: Gao, Schulman and Hilton's curve, and its peak.

With d = √KL, what an answer is really worth follows (Gao et al. 2023)

    by reinforcement learning   R(d) = R0 + d · (α − β · log d)    peak at d = exp(α / β − 1)
    by best-of-n                R(d) = R0 + d · (α − β · d)        peak at d = α / (2 β)

Both are linear in R0, α and β, so that least squares finds them.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from workbench.analysis.intervals import Floats

RL, BEST_OF_N = "d·(α − β·log d)", "d·(α − β·d)"
DRAWS = 400  # resamples behind an interval
BLOCK = 5  # neighbouring updates are drawn together: they are alike
FEWEST = 8  # points to fit three numbers to
SURE = 0.95  # of the resamples must have their peak among what was seen


class FittedCurve(NamedTuple):
    """A fitted curve; with beta at or below 0 it only rises."""

    form: str
    start: float
    alpha: float
    beta: float

    def at(self, d: float) -> float:
        """Return R at d = √KL."""
        if d <= 0:
            return self.start
        bend = np.log(d) if self.form == RL else d
        return float(self.start + d * (self.alpha - self.beta * bend))

    @property
    def peak(self) -> float | None:
        """Return √KL at the top; None where the curve has none."""
        if self.beta <= 0:
            return None
        with np.errstate(over="ignore"):
            rl, bend = self.form == RL, self.alpha / self.beta
            top = float(np.exp(bend - 1) if rl else bend / 2)
        return top if np.isfinite(top) and top > 0 else None


class Peak(NamedTuple):
    """A curve and how sure its peak is.

    Attributes:
        seen: the largest √KL of the points.
        low, high: 95 % interval of the peak's √KL over the resamples that have one within reach;
            None where too few have.
        within: share of resamples with a peak at or below ``seen``.
    """

    curve: FittedCurve
    seen: float
    low: float | None
    high: float | None
    within: float

    @property
    def has_turned(self) -> bool:
        """Whether the curve has turned down within what was seen, beyond doubt."""
        peak = self.curve.peak
        return self.within >= SURE and peak is not None and peak <= self.seen


def fit_curve(d: Floats, values: Floats, form: str) -> FittedCurve:
    """Fit a form to points by least squares.

    Args:
        d: ``(N,)`` √KL, at least 0.
        values: ``(N,)`` what was measured there.
        form: :data:`RL` or :data:`BEST_OF_N`.
    """
    bend = np.log(np.where(d > 0, d, 1.0)) if form == RL else d
    columns = np.stack([np.ones_like(d), d, -d * bend], axis=1)
    start, alpha, beta = np.linalg.lstsq(columns, values, rcond=None)[0]
    return FittedCurve(form, float(start), float(alpha), float(beta))


def peak_of_run(d: Floats, values: Floats, seed: int = 0) -> Peak | None:
    """Fit a run's updates; the interval comes from drawing blocks of neighbouring updates again.

    Args:
        d: ``(N,)`` √KL by update.
        values: ``(N,)`` what was measured at each.
        seed: of the draws.

    Returns:
        None where there are too few updates.
    """
    count = len(d)
    if count < FEWEST:
        return None
    rng = np.random.default_rng(seed)

    def again() -> FittedCurve:
        begins = rng.integers(0, count, -(-count // BLOCK))
        drawn = (begins[:, None] + np.arange(BLOCK)).reshape(-1)[:count] % count
        return fit_curve(d[drawn], values[drawn], RL)

    return _peak(fit_curve(d, values, RL), again, float(d.max()))


def peak_of_best_of_n(d: Floats, values: Floats, seed: int = 0) -> Peak:
    """Fit best-of-n; the interval comes from drawing prompts again.

    Args:
        d: ``(S,)`` root of the KL bound for each n.
        values: ``(P, S)`` what the best of n is worth, a row a prompt.
        seed: of the draws.
    """
    rng, prompts = np.random.default_rng(seed), len(values)

    def again() -> FittedCurve:
        drawn = rng.integers(0, prompts, prompts)
        return fit_curve(d, values[drawn].mean(axis=0), BEST_OF_N)

    return _peak(fit_curve(d, values.mean(axis=0), BEST_OF_N), again, float(d.max()))


def _peak(curve: FittedCurve, again: Callable[[], FittedCurve], seen: float) -> Peak:
    tops = [again().peak for _ in range(DRAWS)]
    inside = [top for top in tops if top is not None and top <= seen]
    within = len(inside) / DRAWS
    if within < SURE:
        return Peak(curve, seen, None, None, within)
    low, high = (float(edge) for edge in np.percentile(inside, [2.5, 97.5]))
    return Peak(curve, seen, low, high, within)

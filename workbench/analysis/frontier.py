"""What each way of aligning bought: for how many nats of KL, and for how many seconds of learning.

A way is run at several prices of a nat (β) by several seeds. What is asked of it at so many nats
is read between the points of one seed, along √KL, from the model that all ways started from.
"""

import importlib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from workbench.analysis.best_of_n import Level

NATS = (1.0, 2.0, 3.0)
"""Where the ways are put beside each other."""


class Measured(NamedTuple):
    """A policy's answers to the held-out prompts, means; ``None`` where nothing scored them.

    Attributes:
        kl: exact KL to what it started from [nats an answer].
        score, heldout, gold: reward score, that of the model that watches, gold score.
    """

    kl: float
    score: float
    heldout: float
    gold: float | None


class Moment(NamedTuple):
    """A policy on its way: what its answers to a few held-out prompts were worth, and when.

    Attributes:
        seconds: of learning so far: sampling, scoring, optimising; not of looking on.
    """

    step: int
    seconds: float
    score: float
    gold: float | None


class Tried(NamedTuple):
    """One run, and what it came to.

    Attributes:
        method: the way.
        price: β, what a nat of KL costs [reward/nat].
        rate: the peak learning rate.
        seconds: of learning in all.
        way: its moments, the first before anything was learned.
    """

    method: str
    price: float
    seed: int
    rate: float
    prompts: int
    seconds: float
    reached: Measured
    way: list[Moment]
    run: str


def over_seeds(values: Sequence[float]) -> Level:
    """Return the mean of one value a seed, with the 95 % interval of Student's t."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return Level(mean, None, None)
    statistics: Any = importlib.import_module("statsmodels.stats.weightstats")
    low, high = statistics.DescrStatsW(list(values)).tconfint_mean()
    return Level(mean, float(low), float(high))


def between(points: Iterable[tuple[float, float]], x: float) -> float | None:
    """Return what lies on the line through points at ``x``; None beyond the last of them."""
    ordered = sorted(points)
    if x > ordered[-1][0]:
        return None
    xs, ys = zip(*ordered, strict=True)
    return float(np.interp(x, xs, ys))


def at_nats(
    runs: Sequence[Tried], starts: dict[int, Measured], measure: str, nats: float
) -> Level | None:
    """Return what one way's policies are worth at a KL; None where not every seed came so far."""

    def of(seed: int) -> float | None:
        points = [(0.0, float(getattr(starts[seed], measure)))]
        points += [
            (math.sqrt(max(run.reached.kl, 0.0)), float(getattr(run.reached, measure)))
            for run in runs
            if run.seed == seed
        ]
        return between(points, math.sqrt(nats))

    return _of_all(of, {run.seed for run in runs})


def at_seconds(runs: Sequence[Tried], measure: str, seconds: float) -> Level | None:
    """Return what one way's policies were worth after so long, of runs at one price."""

    def of(seed: int) -> float | None:
        own = next(run for run in runs if run.seed == seed)
        return between(
            [(moment.seconds, float(getattr(moment, measure))) for moment in own.way], seconds
        )

    return _of_all(of, {run.seed for run in runs})


def _of_all(of: Callable[[int], float | None], seeds: Iterable[int]) -> Level | None:
    values = [of(seed) for seed in sorted(seeds)]
    known = [value for value in values if value is not None]
    return over_seeds(known) if len(known) == len(values) else None


def best_price(runs: Sequence[Tried]) -> float:
    """Return the price whose policies the watching model likes best; gold has no say in it."""
    scores: dict[float, list[float]] = {}
    for run in runs:
        scores.setdefault(run.price, []).append(run.reached.heldout)
    return max(scores, key=lambda price: sum(scores[price]) / len(scores[price]))


def told_apart(one: Level, other: Level) -> bool:
    """Whether two means differ by more than both of their intervals can hide."""
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    half = math.hypot(one.mean - one.low, other.mean - other.low)
    return abs(one.mean - other.mean) > half

"""Whether a reward model's certainty is deserved: calibration curve, ECE, Brier score, loss.

By Bradley and Terry the model says ``P(chosen) = sigmoid(margin)``, with ``margin`` the raw score
of the chosen answer less that of the rejected one. Which answer stands first is arbitrary, so each
comparison is looked at from the side that the model prefers: its confidence is
``sigmoid(|margin|)``, from 1/2 to 1, and it is right where ``margin > 0``.
"""

from typing import NamedTuple

import numpy as np

from workbench.analysis.intervals import LEVEL, Estimate, Floats, Integers, by_items, share
from workbench.analysis.scored_items import ItemRows

BINS = 10
SIMULATED = 200  # sets of labels drawn from the model's own probabilities


class Bin(NamedTuple):
    """Comparisons of similar confidence, a tenth of all by weight."""

    bin: int
    confidence_from: float
    confidence_to: float
    comparisons: float
    confidence: float  # mean
    accuracy: float
    low: float | None
    high: float | None


def confidence(margins: Floats) -> Floats:
    """Return the probability ``(C,)`` that the model gives to the answer it prefers."""
    return 1 / (1 + np.exp(-np.abs(margins)))


def rightness(margins: Floats) -> Floats:
    """Return ``(C,)`` 1 where the chosen answer scores higher, 1/2 where both score the same."""
    return (margins > 0) + 0.5 * (margins == 0)


def equal_mass(sure: Floats, weight: Floats, bins: int = BINS) -> Integers:
    """Return the bin ``(C,)`` of each comparison: by confidence, the same weight in each bin."""
    order = np.argsort(sure, kind="stable")
    middle = np.cumsum(weight[order]) - weight[order] / 2
    places = np.minimum((middle / weight.sum() * bins).astype(np.int64), bins - 1)
    bin_of = np.empty(len(sure), dtype=np.int64)
    bin_of[order] = places
    return bin_of


def ece(sure: Floats, right: Floats, weight: Floats) -> float:
    """Return the expected calibration error: mean |accuracy - confidence| over the bins."""
    place = equal_mass(sure, weight)
    gaps = np.bincount(place, weights=weight * (right - sure), minlength=BINS)
    return float(np.abs(gaps).sum() / weight.sum())


def curve(margins: Floats, weight: Floats) -> list[Bin]:
    """Return the calibration curve in bins of equal mass."""
    sure, right = confidence(margins), rightness(margins)
    place = equal_mass(sure, weight)
    rows: list[Bin] = []
    for number, each in enumerate(np.unique(place), start=1):
        inside = place == each
        mass = weight[inside]
        total = float(mass.sum())
        accuracy, low, high, _ = share(float(mass @ right[inside]), total)
        mean = float(mass @ sure[inside]) / total
        ends = float(sure[inside].min()), float(sure[inside].max())
        rows.append(Bin(number, *ends, total, mean, accuracy or 0.0, low, high))
    return rows


class Chance(NamedTuple):
    """The ECE of a model without any calibration error, on so many comparisons."""

    mean: float
    most: float  # 95 of 100 sets of labels stay below it


def ece_by_chance(margins: Floats, weight: Floats, seed: int = 0) -> Chance:
    """Return the ECE of labels drawn from the model's own probabilities."""
    sure, rng = confidence(margins), np.random.default_rng(seed)
    drawn = [
        ece(sure, (rng.random(len(sure)) < sure).astype(np.float64), weight)
        for _ in range(SIMULATED)
    ]
    return Chance(float(np.mean(drawn)), float(np.quantile(drawn, LEVEL)))


def ece_interval(
    margins: Floats, weight: Floats, rows: ItemRows, chance: Chance, seed: int = 0
) -> Estimate:
    """Return the ECE and its 95 % interval, by drawing items again with replacement.

    Noise in the bins only ever adds to an ECE, and drawing again adds it once more. The basic
    bootstrap takes that off: its ends are the estimate less the excess of the resamples. Where
    chance alone explains the estimate, the interval begins at 0.
    """
    sure, right = confidence(margins), rightness(margins)

    def figure(items: Integers) -> float:
        drawn = rows.of(items)
        return ece(sure[drawn], right[drawn], weight[drawn])

    estimate = by_items(figure, rows.items, seed)
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return estimate
    low, high = 2 * estimate.value - estimate.high, 2 * estimate.value - estimate.low
    least = 0.0 if estimate.value <= chance.most else max(0.0, low)
    return estimate._replace(low=least, high=max(0.0, high))


def brier(margins: Floats) -> Floats:
    """Return the squared error ``(C,)`` of P(chosen), whose truth is 1; a coin's is 1/4."""
    return np.exp(-2 * np.logaddexp(0.0, margins))  # 1 - sigmoid(m) = sigmoid(-m)


def loss(margins: Floats) -> Floats:
    """Return -ln sigmoid(margin) ``(C,)``, the surprise at each label in nats."""
    return np.logaddexp(0.0, -margins)

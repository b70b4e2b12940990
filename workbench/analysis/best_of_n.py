"""Best of n: what it brings to draw n answers and keep the one with the highest score."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from workbench.analysis.intervals import Floats


class Level(NamedTuple):
    """A mean over prompts with its 95 % interval; none where there is one prompt."""

    mean: float
    low: float | None
    high: float | None


def kl_bound(n: int) -> float:
    """Return log n − (n − 1) / n: at most so many nats lie between best-of-n and its model.

    An upper bound, not the divergence itself (Beirami et al. 2024): it is reached only where no
    two answers are alike.
    """
    return math.log(n) - (n - 1) / n


def chances(count: int, n: int) -> Floats:
    """Return for each place the chance that it is the best of n, drawn without replacement.

    The answer in place i of ``count``, counted from 1 for the lowest score, is the best of a
    subset where the other n − 1 come from the i − 1 below it: C(i − 1, n − 1) / C(count, n).

    Returns:
        ``(count,)``, lowest score first; adds up to 1.
    """
    weights = np.zeros(count)
    weights[-1] = n / count
    for place in range(count, n, -1):  # C(i-2, n-1) / C(i-1, n-1) = (i-n) / (i-1)
        weights[place - 2] = weights[place - 1] * (place - n) / (place - 1)
    return weights


def best_of(scores: Floats, measured: Floats, sizes: Sequence[int]) -> Floats:
    """Return what the best of n is worth on average over all subsets of n of the drawn answers.

    Unbiased for every n, and of less variance than looking at the first n alone (Nakano et al.
    2021). Among equal scores each answer is as likely to be kept.

    Args:
        scores: ``(P, N)`` what is chosen by.
        measured: ``(P, N)`` what the chosen answer is worth; the scores again, or another judge's.
        sizes: each n, from 1 to N.

    Returns:
        ``(P, sizes)``.
    """
    weights = np.stack([chances(scores.shape[1], n) for n in sizes])
    return np.stack([weights @ _ordered(s, m) for s, m in zip(scores, measured, strict=True)])


def _ordered(scores: Floats, measured: Floats) -> Floats:
    """What was measured, lowest score first, each the mean of those with the same score."""
    _, group = np.unique(scores, return_inverse=True)
    means = np.bincount(group, weights=measured) / np.bincount(group)
    return means[np.sort(group)]


def level(values: Floats) -> Level:
    """Return the mean of one value a prompt, with its interval by the normal approximation."""
    mean = float(values.mean())
    if len(values) < 2:
        return Level(mean, None, None)
    half = 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Level(mean, mean - half, mean + half)

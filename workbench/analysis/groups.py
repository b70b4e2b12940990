"""Where a reward model is right: by how much longer an answer is, by source, by who labelled."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from workbench.analysis.calibration import rightness
from workbench.analysis.intervals import Estimate, Floats, Integers, by_items, share
from workbench.analysis.scored_items import ItemRows
from workbench.data.pairs import Pair

DECILES = 10


class Group(NamedTuple):
    """The comparisons of one group; ``confidence`` beside ``accuracy`` shows over-confidence."""

    group: str
    comparisons: int
    accuracy: float | None
    low: float | None
    high: float | None
    confidence: float


class Gap(NamedTuple):
    """The comparisons whose chosen answer is longer by so much; below 0 it is the shorter one."""

    decile: int
    gap_from: int  # [characters]
    gap_to: int
    comparisons: int
    accuracy: float | None
    low: float | None
    high: float | None


def group_rows(
    names: Sequence[str | None], margins: Floats, sure: Floats, weight: Floats
) -> list[Group]:
    """Return a row for each name, the largest group first; comparisons without a name are in none.

    Args:
        names: of each comparison.
        margins: ``(C,)``.
        sure: ``(C,)`` confidence.
        weight: ``(C,)``; an item's comparisons weigh 1 together.
    """
    right = rightness(margins)
    rows: list[Group] = []
    for name in dict.fromkeys(names):
        if name is not None:
            inside = np.array([each == name for each in names])
            mass = weight[inside]
            accuracy = share(float(mass @ right[inside]), float(mass.sum()))
            mean = float(np.average(sure[inside], weights=mass))
            rows.append(Group(name, int(inside.sum()), *accuracy[:3], mean))
    return sorted(rows, key=lambda row: -row.comparisons)


def deciles(values: npt.NDArray[Any]) -> Iterator[npt.NDArray[np.bool_]]:
    """Yield which values lie in each tenth of them, lowest first; equal values stay together."""
    if len(values):
        edges = np.quantile(values, np.arange(1, DECILES) / DECILES, method="inverted_cdf")
        place = np.searchsorted(edges, values, side="left")
        for each in np.unique(place):
            yield place == each


def gap_rows(gaps: Floats, margins: Floats, weight: Floats) -> list[Gap]:
    """Return accuracy by deciles of the length gap, chosen less rejected; equal gaps stay together.

    A model that leans to long answers is right on the last rows and wrong on the first ones.
    """
    right = rightness(margins)
    rows: list[Gap] = []
    for number, inside in enumerate(deciles(gaps), start=1):
        mass = weight[inside]
        accuracy = share(float(mass @ right[inside]), float(mass.sum()))
        ends = int(gaps[inside].min()), int(gaps[inside].max())
        rows.append(Gap(number, *ends, int(inside.sum()), *accuracy[:3]))
    return rows


def source_of(pair: Pair) -> str | None:
    """Return where an item is from: its data's own word for it, else the data set or the file."""
    return _word(pair.meta, "source") or _word(pair.source, "dataset") or _word(pair.source, "file")


def annotator_of(pair: Pair) -> str | None:
    """Return who labelled an item, where the label or its row says so."""
    return _word(pair.label or {}, "annotator") or _word(pair.meta, "annotator")


def subset_of(pair: Pair) -> str | None:
    """Return an item's subset, where its row names one."""
    return _word(pair.meta, "subset")


def _word(values: dict[str, Any], name: str) -> str | None:
    value = values.get(name)
    return value if isinstance(value, str) and value else None


class Correlation(NamedTuple):
    """How far the score goes with the answer's length; resampled by items."""

    measure: str
    value: float | None
    low: float | None
    high: float | None
    answers: int


def correlations(
    scores: Floats, lengths: Floats, rows: ItemRows, seed: int = 0
) -> list[Correlation]:
    """Return Pearson's and Spearman's correlation of score and length over all answers.

    Args:
        scores: ``(A,)``, none missing.
        lengths: ``(A,)`` [characters].
        rows: the items that the answers belong to.
        seed: of the draws.
    """

    def estimate(correlation: Callable[[Floats, Floats], float | None]) -> Estimate:
        def resampled(items: Integers) -> float | None:
            places = rows.of(items)
            return correlation(scores[places], lengths[places])

        return by_items(resampled, rows.items, seed)

    return [
        Correlation(name, *estimate(correlation)[:3], len(scores))
        for name, correlation in (("Pearson", pearson), ("Spearman", spearman))
    ]


def pearson(a: Floats, b: Floats) -> float | None:
    """Return the linear correlation, None where one of the two never changes."""
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else None


def spearman(a: Floats, b: Floats) -> float | None:
    """Return the correlation of the ranks; equal values share their mean rank."""
    return pearson(ranks(a), ranks(b))


def ranks(values: Floats) -> Floats:
    """Return the ranks from 1, equal values at their mean."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[place].astype(np.float64)

"""Shares and other figures with their uncertainty, by statsmodels and by resampling items."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

LEVEL = 0.95
RESAMPLES = 1_000
_WORK = 5_000_000  # items drawn in all resamples together; fewer resamples where items are many
_FEWEST = 200


class Share(NamedTuple):
    """A share of things with its interval; all None where there was nothing to count."""

    value: float | None
    low: float | None
    high: float | None
    of: float


def share(count: float, of: float) -> Share:
    """Return a share and its 95 % Wilson interval (statsmodels)."""
    if not of:
        return Share(None, None, None, of)
    proportion: Any = importlib.import_module("statsmodels.stats.proportion")
    low, high = proportion.proportion_confint(count, of, alpha=1 - LEVEL, method="wilson")
    return Share(count / of, float(low), float(high), of)


class Estimate(NamedTuple):
    """A figure with its interval; ``note`` says why there is none, or how sure the interval is."""

    value: float | None
    low: float | None
    high: float | None
    items: int
    note: str


def by_items(
    figure: Callable[[npt.NDArray[Any]], float | None], rows: npt.NDArray[Any], seed: int = 0
) -> Estimate:
    """Return a figure of the rows and its 95 % interval, by drawing items again with replacement.

    Args:
        figure: of rows, one an item; None where it is not defined for them.
        rows: ``(items, ...)``.
        seed: of the draws.
    """
    items = len(rows)
    value = figure(rows) if items else None
    if value is None:
        why = "no item was labelled by two people" if not items else "only one answer was ever used"
        return Estimate(None, None, None, items, f"undefined: {why}")
    draws = max(_FEWEST, min(RESAMPLES, _WORK // items))
    rng = np.random.default_rng(seed)
    drawn = [figure(rows[rng.integers(0, items, items)]) for _ in range(draws)]
    values = [each for each in drawn if each is not None]
    if items < 2 or len(values) < draws / 2:
        return Estimate(value, None, None, items, "too few items for an interval")
    edges = [50 * (1 - LEVEL), 50 * (1 + LEVEL)]
    low, high = (float(edge) for edge in np.percentile(values, edges))
    missing = draws - len(values)
    note = f"undefined in {missing} of {draws} resamples" if missing else ""
    return Estimate(value, low, high, items, note)

"""How one label over two or more responses becomes comparisons of two, each with its weight.

Label kinds that say which response is better: ``choice`` (``winner``, above each of the others),
``rank`` (``ranks``, one a response: 1 = best, equal = tie, None = not ranked) and ``scores``
(``scores``, one a response: higher = better, None = not scored). Ties are in none of the pairs.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple, cast

from workbench.errors import ConfigError, DataError

K_WAYS = ("all", "best-worst", "adjacent")
NO_PREFERENCE = ("tie", "both_bad")


class Comparison(NamedTuple):
    """Response ``winner`` is better than response ``loser``; both are indices."""

    winner: int
    loser: int


def comparisons(
    label: Mapping[str, Any] | None, responses: int, k_way: str = "all"
) -> list[Comparison]:
    """Return the comparisons that a label gives, in a fixed order; none for a tie or no label.

    Args:
        label: an item's label, or None.
        responses: how many responses the item has.
        k_way: which pairs a ranking or scores give: "all" (each pair of unequal places),
            "best-worst" (the best against the worst) or "adjacent" (each place against the next).
            A choice sets its winner above each other response and says no more, so that it gives
            the same under all three.

    Raises:
        ConfigError: there is no such ``k_way``.
        DataError: the label names responses that the item does not have.
    """
    if k_way not in K_WAYS:
        raise ConfigError(
            f"k_way cannot be {k_way!r}",
            where="k_way=...",
            fix=f"use one of: {', '.join(K_WAYS)}",
        )
    levels = places(label, responses)
    if k_way == "all" or (label or {}).get("kind") == "choice":
        compared = list(combinations(range(len(levels)), 2))
    elif k_way == "best-worst":
        compared = [(0, len(levels) - 1)] if len(levels) > 1 else []
    else:
        compared = [(high, high + 1) for high in range(len(levels) - 1)]
    return [
        Comparison(winner, loser)
        for high, low in compared
        for winner in levels[high]
        for loser in levels[low]
    ]


def places(label: Mapping[str, Any] | None, responses: int) -> list[list[int]]:
    """Return the responses in the order of the label, best first: a list for each place.

    Responses that the label leaves unranked are in none. A tie, "both bad" and no label give no
    places at all.

    Raises:
        DataError: the label names responses that the item does not have, or is of no known kind.
    """
    kind = None if label is None else label.get("kind")
    if label is None or kind in NO_PREFERENCE:
        return []
    if kind == "choice":
        winner = label.get("winner")
        if isinstance(winner, int) and 0 <= winner < responses:
            return [[winner], [n for n in range(responses) if n != winner]]
    elif kind == "rank":
        ranks = _numbers(label.get("ranks"), responses)
        if ranks is not None:
            return _levels(ranks)
    elif kind == "scores":
        scores = _numbers(label.get("scores"), responses)
        if scores is not None:
            return _levels([None if score is None else -score for score in scores])
    raise DataError(
        "the label does not fit its item",
        where=f"label {dict(label)} on an item with {responses} responses",
        fix="choice needs a winner counted from 0; rank and scores need one value a response",
    )


def is_tie(label: Mapping[str, Any] | None, responses: int) -> bool:
    """Whether a label was given and prefers no response to another: tie, both bad, all equal."""
    return label is not None and len(places(label, responses)) < 2


def _numbers(values: Any, wanted: int) -> list[float | None] | None:
    """Return a label's numbers, None for each that is missing; None where they do not fit."""
    if not isinstance(values, list | tuple):
        return None
    entries = list(cast("Sequence[Any]", values))
    if len(entries) != wanted or not all(v is None or isinstance(v, int | float) for v in entries):
        return None
    return [None if v is None or not math.isfinite(v) else float(v) for v in entries]


def _levels(values: list[float | None]) -> list[list[int]]:
    return [
        [n for n, value in enumerate(values) if value == level]
        for level in sorted({value for value in values if value is not None})
    ]

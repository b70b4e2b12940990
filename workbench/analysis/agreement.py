"""How far annotators agree: percent, Cohen's and Fleiss' kappa, and Krippendorff's alpha.

The kappas and the intervals of shares are statsmodels', which is imported where it is needed. No
well-kept library with a free licence has the alpha with missing labels at this speed, so it is
worked out here. What is not defined is None, never 0 or 1.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

import hashlib
import importlib
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any, NamedTuple, cast

import numpy as np

from workbench.analysis.intervals import Estimate, Integers, by_items
from workbench.data.comparisons import places
from workbench.data.pairs import Label, Pair
from workbench.data.store.label_events import LabelEvent
from workbench.errors import DataError

Counts = Integers  # (items, answers): how many people gave each answer
Ratings = Mapping[str, Mapping[str, str]]  # item -> annotator -> answer


class Measure(NamedTuple):
    """One measure of agreement, between whom, and what it came to."""

    measure: str
    between: str
    value: float | None
    low: float | None
    high: float | None
    items: int
    note: str


def agreement(ratings: Ratings) -> list[Measure]:
    """Return percent agreement, Krippendorff's alpha, Fleiss' kappa, and Cohen's for each two.

    The intervals, 95 %, are by drawing the items again (bootstrap).

    Args:
        ratings: what each person answered on each item; people may have left items out.
    """
    shared = {item: answers for item, answers in ratings.items() if len(answers) > 1}
    values = sorted({value for answers in shared.values() for value in answers.values()})
    counts = _counts(shared.values(), values)
    people = sorted({who for answers in shared.values() for who in answers})
    whom = f"{len(people)} people" if people else "nobody"
    measures = [
        _measure("percent", whom, by_items(percent, counts)),
        _measure("Krippendorff's alpha", whom, by_items(krippendorff_alpha, counts)),
        _fleiss_measure(shared, values),
    ]
    for one, other in combinations(people, 2):
        both = [answers for answers in shared.values() if one in answers and other in answers]
        if both:
            codes = np.array([[values.index(g[one]), values.index(g[other])] for g in both])
            measures.append(_measure("Cohen's kappa", f"{one}, {other}", by_items(cohen, codes)))
    return measures


def ratings_of(
    standing: Iterable[LabelEvent], sizes: Mapping[str, int]
) -> dict[str, dict[str, str]]:
    """Return who gave which answer, from the labels that hold now; repeats and gold left out.

    Args:
        standing: the events that hold.
        sizes: how many responses each item has.
    """
    ratings: dict[str, dict[str, str]] = {}
    for event in standing:
        if event.counts:
            answer = rating(event.item_id, event.payload["label"], sizes[event.item_id])
            if answer is not None:
                ratings.setdefault(event.item_id, {})[event.annotator] = answer
    return ratings


def imported_ratings(pair: Pair) -> dict[str, str]:
    """Return who gave which answer to an item whose several votes came with the data."""
    votes = pair.meta.get("votes")
    ratings: dict[str, str] = {}
    for vote in cast("list[Any]", votes if isinstance(votes, list) else []):
        entry = cast("dict[str, Any]", vote) if isinstance(vote, dict) else {}
        label = entry.get("label")
        answer = rating(pair.id, label, len(pair.responses)) if isinstance(label, dict) else None
        if answer is not None:
            ratings[str(entry.get("annotator"))] = answer
    return ratings


def rating(item_id: str, label: Label, responses: int) -> str | None:
    """Return a label as an answer that people agree on or not: A, B, …, tie or both_bad.

    None where the label does not fit the item.

    Which response an item lists first says nothing, or too much (many files list the better one
    first, and agreement by chance would look certain). So the answers are called A, B, … in an
    order drawn from the item's id. Of a ranking or scores, the one response put first counts.
    """
    try:
        levels = places(label, responses)
    except DataError:
        return None
    if not levels or len(levels[0]) > 1:
        return "both_bad" if label["kind"] == "both_bad" else "tie"
    turn = hashlib.blake2b(item_id.encode("utf-8", "surrogatepass")).digest()[0]
    return chr(ord("A") + (levels[0][0] + turn) % responses)


def percent(counts: Counts) -> float | None:
    """Return the mean over items of the share of two people's labels that are the same."""
    of = counts.sum(axis=1)
    counts, of = counts[of > 1], of[of > 1]
    if not len(of):
        return None
    return float(((counts * (counts - 1)).sum(axis=1) / (of * (of - 1))).mean())


def krippendorff_alpha(counts: Counts) -> float | None:
    """Return Krippendorff's alpha for unordered answers; None where one answer is all there is.

    alpha = 1 - observed / expected disagreement (Krippendorff 2011, "Computing Krippendorff's
    Alpha-Reliability", section C). Observed: the share of differing pairs of labels within items,
    where an item with m labels weighs m. Expected: the share of differing pairs among all labels,
    whatever their items. People may have left items out; an item with one label says nothing.
    """
    labels = counts.sum(axis=1, keepdims=True)  # (items, 1)
    paired = labels[:, 0] > 1
    counts, labels = counts[paired], labels[paired]
    totals = counts.sum(axis=0)  # of each answer
    n = totals.sum()
    differing = (totals * (n - totals)).sum()
    if differing == 0:
        return None
    observed = (counts * (labels - counts) / (labels - 1)).sum() / n
    return float(1 - observed / (differing / (n * (n - 1))))


def fleiss(counts: Counts) -> float | None:
    """Return Fleiss' kappa; each item must have as many labels. None where all are one answer."""
    if (counts.sum(axis=0) > 0).sum() < 2:
        return None
    return float(_raters().fleiss_kappa(counts, method="fleiss"))


def cohen(codes: Integers) -> float | None:
    """Return Cohen's kappa of two people; None where both only ever gave one and the same answer.

    Args:
        codes: ``(items, 2)``, each person's answer as a number from 0.
    """
    size = int(codes.max()) + 1
    table = np.bincount(codes[:, 0] * size + codes[:, 1], minlength=size * size)
    table = table.reshape(size, size)
    if table.max() == len(codes) and np.trace(table) == len(codes):
        return None  # both certain: nothing is left to agree on beyond chance
    return float(_raters().cohens_kappa(table, return_results=False))


def _raters() -> Any:
    return importlib.import_module("statsmodels.stats.inter_rater")


def _fleiss_measure(shared: Ratings, values: list[str]) -> Measure:
    """Fleiss' kappa is for items with as many labels each: take the number that most have."""
    sizes = Counter(len(answers) for answers in shared.values())
    size = max(sizes, key=lambda n: (sizes[n], n)) if sizes else 0
    same = [answers for answers in shared.values() if len(answers) == size]
    estimate = by_items(fleiss, _counts(same, values))
    if len(same) < len(shared):
        left = f"of the items with {size} labels each"
        estimate = estimate._replace(note=f"{left}; {estimate.note}" if estimate.note else left)
    return _measure("Fleiss' kappa", f"{size} labels an item" if size else "nobody", estimate)


def _measure(name: str, whom: str, of: Estimate) -> Measure:
    return Measure(name, whom, *of)


def _counts(ratings: Iterable[Mapping[str, str]], values: list[str]) -> Counts:
    rows = [Counter(answers.values()) for answers in ratings]
    return np.array([[row[value] for value in values] for row in rows], dtype=np.int64).reshape(
        len(rows), len(values)
    )

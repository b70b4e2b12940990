"""The people behind the labels: which side they take, how far they agree, how reliable they are."""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from workbench.analysis.agreement import Measure, agreement, ratings_of
from workbench.analysis.intervals import share
from workbench.data.arrow_table import frame_rows
from workbench.data.pairs import Label, pair_of
from workbench.data.store.label_events import LABELS, LabelEvent

if TYPE_CHECKING:
    from workbench.data.store.labels import LabelStore

EVERYONE = "everyone"


class Side(NamedTuple):
    """How often somebody took the left one of two answers; ``rate`` is P(left)."""

    annotator: str
    left: int
    right: int
    rate: float | None
    low: float | None
    high: float | None


class Steadiness(NamedTuple):
    """How often somebody passed a test of reliability: a repeat, or a gold item."""

    test: str  # "repeat": the same label when the item came back swapped; "gold": the known label
    annotator: str
    items: int
    passed: int
    rate: float | None
    low: float | None
    high: float | None


class Reason(NamedTuple):
    """How many labels somebody gave this reason with, of all that they gave."""

    tag: str
    annotator: str
    labels: int
    of: int


class People(NamedTuple):
    """What a label store says of the people who labelled."""

    sides: list[Side]
    measures: list[Measure]
    steadiness: list[Steadiness]
    reasons: list[Reason]


def people_of(store: "LabelStore") -> People:
    """Return what the labels that hold now say of those who gave them.

    P(left) is over all labels that took one side, repeats and gold items too: sides were drawn by
    lot for each. The first row of each list is everyone together.
    """
    standing = [event for event in store.decisions() if event.kind in LABELS]
    labelled = list(dict.fromkeys(event.item_id for event in standing))
    sizes = {pair.id: len(pair.responses) for pair in map(pair_of, store.copies(labelled))}
    return People(
        _sides(standing),
        agreement(ratings_of(standing, sizes)),
        _steadiness(store, ("repeat", "gold")),
        _reasons(event for event in standing if event.counts),
    )


def _sides(standing: Iterable[LabelEvent]) -> list[Side]:
    counts: dict[str, list[int]] = {EVERYONE: [0, 0]}
    for event in standing:
        side = event.payload.get("choice")
        if side in ("left", "right"):
            for who in (EVERYONE, event.annotator):
                counts.setdefault(who, [0, 0])[side == "right"] += 1
    return [
        Side(who, left, right, *share(left, left + right)[:3])
        for who, (left, right) in counts.items()
    ]


def _reasons(labels: Iterable[LabelEvent]) -> list[Reason]:
    """Count the tags that labels were given with: everyone first, then each person."""
    labels_of: dict[str, int] = {EVERYONE: 0}
    counts: dict[str, dict[str, int]] = {}
    for event in labels:
        for who in (EVERYONE, event.annotator):
            labels_of[who] = labels_of.get(who, 0) + 1
            for tag in event.payload.get("tags", ()):
                by_person = counts.setdefault(str(tag), {})
                by_person[who] = by_person.get(who, 0) + 1
    often = sorted(counts.items(), key=lambda entry: -entry[1][EVERYONE])
    return [
        Reason(tag, who, number, labels_of[who])
        for tag, by_person in often
        for who, number in by_person.items()
    ]


def imported_reasons(labels: Iterable[Label | None]) -> list[Reason]:
    """Count the tags that came with labels, as ``store.pairs()`` exports them, by people."""
    known = [label for label in labels if label is not None]
    counts: Counter[str] = Counter()
    for label in known:
        tags: object = label.get("tags")
        if isinstance(tags, dict):
            counts.update(
                {str(tag): 1 for tag, number in cast("dict[str, Any]", tags).items() if number}
            )
    return [Reason(tag, EVERYONE, number, len(known)) for tag, number in counts.most_common()]


def _steadiness(store: "LabelStore", tests: Iterable[str]) -> list[Steadiness]:
    columns = {"repeat": ("repeats", "consistent"), "gold": ("gold", "gold_passed")}
    rows: list[Steadiness] = []
    for test in tests:
        tried, passes = columns[test]
        counted = [
            (str(row["annotator"]), int(row[tried]), int(row[passes]))
            for row in frame_rows(store.annotators())
        ]
        everyone = (EVERYONE, sum(row[1] for row in counted), sum(row[2] for row in counted))
        for who, items, passed in [everyone, *counted]:
            if items or who == EVERYONE:
                rows.append(Steadiness(test, who, items, passed, *share(passed, items)[:3]))
    return rows

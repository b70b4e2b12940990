"""Labels as values (choice, tie, both bad, ranking) and the majority of several people's."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

from workbench.data.pairs import Label
from workbench.errors import ConfigError

RankedPlaces = Sequence[int | Sequence[int]]  # best first; a list in the list is a tie


def is_label(label: object) -> bool:
    """Whether this is a label that people give: a choice, a tie, both bad or a ranking."""
    if not isinstance(label, dict):
        return False
    fields = cast("Label", label)
    if fields.get("kind") == "choice":
        return isinstance(fields.get("winner"), int)
    if fields.get("kind") == "rank":
        return isinstance(fields.get("ranks"), list)
    return fields.get("kind") in ("tie", "both_bad")


def label_key(label: Label) -> tuple[str, Any]:
    """Return a label without its strength, as a key: labels agree where their keys are equal."""
    if label["kind"] == "choice":
        return "choice", int(label["winner"])
    if label["kind"] == "rank":
        return "rank", tuple(label["ranks"])
    return str(label["kind"]), None


def ranked(places: RankedPlaces, order: Sequence[int]) -> Label:
    """Return the label for responses put in order, best first; a list in the list is a tie.

    Args:
        places: places on screen, from 0, each exactly once.
        order: which of the item's responses stands at each place.

    Returns:
        ``{"kind": "rank", "ranks": [...]}``, one a response of the item, 1 = best, without gaps;
        of two responses a choice; a tie where all are equal.

    Raises:
        ConfigError: a place is missing, stands twice or does not exist.
    """
    levels = [[level] if isinstance(level, int) else list(level) for level in places]
    if sorted(place for level in levels for place in level) != list(range(len(order))):
        raise ConfigError(
            f"the ranking {places!r} does not name each response once",
            where="session.rank",
            fix=f"name the places 0 to {len(order) - 1}, best first; equal ones in a list",
        )
    levels = [level for level in levels if level]
    if len(levels) == 1:
        return {"kind": "tie"}
    if len(order) == 2:
        return {"kind": "choice", "winner": order[levels[0][0]], "strength": None}
    ranks = [0] * len(order)
    for rank, level in enumerate(levels, start=1):
        for place in level:
            ranks[order[place]] = rank
    return {"kind": "rank", "ranks": ranks}


def in_words(places: RankedPlaces) -> str:
    """Return a ranking as text: ``2>0=1`` puts place 2 first, then 0 and 1 together."""
    levels = [[level] if isinstance(level, int) else level for level in places]
    return ">".join("=".join(map(str, level)) for level in levels if level)


def majority(labels: list[Label]) -> Label:
    """Return the majority of several annotators' labels for one item.

    A response wins with strictly more votes than anything else has; otherwise it is a tie (or
    "both bad", where that has the most). ``agreement`` is the share of votes for it.
    ``strength`` is the mean over those who chose the winner and gave one, or None. Where somebody
    ranked the responses, see :func:`mean_ranking`.
    """
    if any(label["kind"] == "rank" for label in labels):
        return mean_ranking(labels)
    votes = Counter(map(label_key, labels))
    top = max(votes.values())
    leaders = [key for key, count in votes.items() if count == top]
    kind, winner = leaders[0] if len(leaders) == 1 else ("tie", None)
    share = votes[kind, winner] / len(labels)
    shared: Label = {"kind": kind, "annotators": len(labels), "agreement": share}
    if kind == "choice":
        strengths = [
            label["strength"]
            for label in labels
            if label_key(label) == (kind, winner) and isinstance(label.get("strength"), int | float)
        ]
        shared["winner"] = winner
        shared["strength"] = sum(strengths) / len(strengths) if strengths else None
    return shared


def mean_ranking(labels: list[Label]) -> Label:
    """Return the ranking by mean rank (Borda) of labels among which at least one is a ranking.

    Who only chose the best put it first and the rest second; a tie or "both bad" puts all first.
    ``agreement`` is the mean share of response pairs that a label orders as the mean ranking does.
    """
    size = max(len(label["ranks"]) for label in labels if label["kind"] == "rank")
    rows = [_as_ranks(label, size) for label in labels]
    means = [sum(row[place] for row in rows) / len(rows) for place in range(size)]
    steps = sorted(set(means))
    ranks = [steps.index(mean) + 1 for mean in means]
    pairs = [(i, j) for i in range(size) for j in range(i)]
    same = sum(_sign(row, i, j) == _sign(ranks, i, j) for row in rows for i, j in pairs)
    shared: Label = {"annotators": len(labels), "agreement": same / (len(rows) * len(pairs))}
    if len(steps) == 1:
        return {"kind": "tie", **shared}
    return {"kind": "rank", "ranks": ranks, **shared}


def winner_of(label: Label) -> int | None:
    """Return the one response that a label puts first; None where there is none such."""
    if label["kind"] == "choice":
        return int(label["winner"])
    if label["kind"] == "rank" and label["ranks"].count(1) == 1:
        return int(label["ranks"].index(1))
    return None


def _as_ranks(label: Label, size: int) -> list[int]:
    if label["kind"] == "rank":
        return label["ranks"]
    winner = label.get("winner") if label["kind"] == "choice" else None
    return [1 if winner is None or place == winner else 2 for place in range(size)]


def _sign(ranks: Sequence[int], i: int, j: int) -> int:
    return (ranks[i] > ranks[j]) - (ranks[i] < ranks[j])

"""Labels as values: a choice, a tie, both bad, a ranking."""

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


def winner_of(label: Label) -> int | None:
    """Return the one response that a label puts first; None where there is none such."""
    if label["kind"] == "choice":
        return int(label["winner"])
    if label["kind"] == "rank" and label["ranks"].count(1) == 1:
        return int(label["ranks"].index(1))
    return None

"""What else the labels could be told by: length, and how an answer looks."""

# numpy's types are partial
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false

import re
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np

from workbench.analysis.groups import deciles
from workbench.analysis.intervals import Share, share
from workbench.data.comparisons import comparisons
from workbench.data.pairs import Pair

_BULLET = re.compile(r"^[ \t]*(?:[-*•]|\d+[.)])[ \t]", re.MULTILINE)
_HEADER = re.compile(r"^#{1,6} ", re.MULTILINE)
_EAGER = re.compile(r"\s*(?:sure|certainly|of course|absolutely|great question)\b", re.IGNORECASE)
_REFUSAL = re.compile(
    r"\s*(?:I['’]m sorry|I am sorry|sorry|I can(?:no|['’])t|I['’]m unable|I am unable)\b",
    re.IGNORECASE,
)

FEATURES: dict[str, Callable[[str], bool]] = {
    "bullets or numbers": lambda text: bool(_BULLET.search(text)),
    "headers": lambda text: "#" in text and bool(_HEADER.search(text)),
    "bold": lambda text: "**" in text,
    "code": lambda text: "```" in text,
    "begins with Sure": lambda text: bool(_EAGER.match(text)),
    "begins with Sorry": lambda text: bool(_REFUSAL.match(text)),
    "exclaims": lambda text: "!" in text,
    "ends by asking": lambda text: text.rstrip().endswith("?"),
}
"""Cheap marks of an answer, each yes or no."""


class Decile(NamedTuple):
    """The comparisons whose answers differ in length by so much, and who won."""

    decile: int
    gap_from: int  # [characters]
    gap_to: int
    comparisons: float
    longer_won: float
    rate: float | None
    low: float | None
    high: float | None


class Feature(NamedTuple):
    """The comparisons in which one answer alone has a feature, and how often it won."""

    feature: str
    in_chosen: float | None  # share of the better answers that have it
    in_rejected: float | None
    comparisons: float
    won: float
    rate: float | None
    low: float | None
    high: float | None


class Bias:
    """Takes items one by one; an item's comparisons weigh 1 together, so that each counts once."""

    def __init__(self) -> None:
        self._gaps: list[int] = []  # [characters] the better answer's length less the other's
        self._weights: list[float] = []
        self._marks: list[int] = []  # features of the better answer, and of the other, as bits
        self._rows: list[int] = []  # which item each comparison is of
        self._items = 0

    def add(self, pair: Pair) -> None:
        """Take the next item."""
        row, self._items = self._items, self._items + 1
        compared = comparisons(pair.label, len(pair.responses))
        if not compared:
            return
        texts = [_assistant_text(response) for response in pair.responses]
        marks = [_marks(text) for text in texts]
        for winner, loser in compared:
            self._rows.append(row)
            self._gaps.append(len(texts[winner]) - len(texts[loser]))
            self._weights.append(1 / len(compared))
            self._marks.append(marks[winner] << len(FEATURES) | marks[loser])

    @property
    def compared(self) -> float:
        """How many items say which answer is better."""
        return float(round(sum(self._weights), 6))

    def longer_wins(self) -> Share:
        """Return how often the longer answer won, where the lengths differ."""
        gaps, weights = self._arrays()
        unequal = gaps != 0
        return _weighed(weights[unequal], gaps[unequal] > 0)

    def rows_longer_won(self) -> list[int]:
        """Return the items in which a longer answer won."""
        return sorted({row for row, gap in zip(self._rows, self._gaps, strict=True) if gap > 0})

    def rows_told_apart(self, names: Collection[str]) -> list[int]:
        """Return the items in which one of these features is in one answer alone."""
        wanted = sum(1 << bit for bit, name in enumerate(FEATURES) if name in names)
        apart = (
            row
            for row, marks in zip(self._rows, self._marks, strict=True)
            if (marks ^ marks >> len(FEATURES)) & wanted
        )
        return sorted(set(apart))

    def deciles(self) -> list[Decile]:
        """Return how often the longer answer won, by how much longer it was.

        Comparisons with the same gap are in one row, so that there may be fewer than ten.
        """
        gaps, weights = self._arrays()
        unequal = gaps != 0
        gaps, weights = gaps[unequal], weights[unequal]
        sizes = np.abs(gaps)
        rows: list[Decile] = []
        for number, inside in enumerate(deciles(sizes), start=1):
            won = _weighed(weights[inside], gaps[inside] > 0)
            ends = int(sizes[inside].min()), int(sizes[inside].max())
            rows.append(Decile(number, *ends, *_counted(won)))
        return rows

    def features(self) -> list[Feature]:
        """Return for each feature how often the answer that alone has it won."""
        _, weights = self._arrays()
        marks = np.array(self._marks, dtype=np.int64)
        total = float(weights.sum())
        rows: list[Feature] = []
        for bit, name in enumerate(FEATURES):
            winner = (marks >> (bit + len(FEATURES)) & 1).astype(bool)
            loser = (marks >> bit & 1).astype(bool)
            alone = winner != loser
            won = _weighed(weights[alone], winner[alone])
            shares = [
                float(weights[has].sum()) / total if total else None for has in (winner, loser)
            ]
            rows.append(Feature(name, shares[0], shares[1], *_counted(won)))
        return rows

    def _arrays(self) -> tuple[Any, Any]:
        return np.array(self._gaps, dtype=np.int64), np.array(self._weights, dtype=np.float64)


def _marks(text: str) -> int:
    """Return a text's features as bits, the first the lowest."""
    marks, bit = 0, 1
    for test in FEATURES.values():
        if test(text):
            marks |= bit
        bit <<= 1
    return marks


def _assistant_text(response: list[Any]) -> str:
    """Return what the assistant says in a response."""
    if len(response) == 1:
        return response[0]["content"]
    return "\n\n".join(turn["content"] for turn in response if turn["role"] == "assistant")


def _weighed(weights: Any, won: Any) -> Share:
    return share(round(float(weights[won].sum()), 6), round(float(weights.sum()), 6))


def _counted(won: Share) -> tuple[float, float, float | None, float | None, float | None]:
    return won.of, round((won.value or 0.0) * won.of, 6), won.value, won.low, won.high

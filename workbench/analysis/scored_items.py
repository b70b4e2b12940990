"""Labelled items laid out flat: the answers to score, and which of them should score higher."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from workbench.analysis.intervals import Floats, Integers
from workbench.data.comparisons import comparisons, is_tie
from workbench.data.messages import Message
from workbench.data.pairs import Pair, Pairs
from workbench.json_lines import dumps


class AnswerToScore(NamedTuple):
    """One answer of an item, as a reward model reads it.

    Attributes:
        item: its place in ``ScoredItems.items``.
        place: its place in the item's responses.
        prompt: the messages before its last one.
        text: its last message.
        length: of all that the assistant says in it. [characters]
    """

    item: int
    place: int
    prompt: list[Message]
    text: str
    length: int


class ScoredItems:
    """What is asked of a reward model, and what the labels say; rows follow the items' order.

    Attributes:
        items: those whose label prefers one answer to another.
        answers: each answer that a label speaks of, once.
        chosen: ``(C,)`` the better answer of each comparison, as a place in ``answers``.
        rejected: ``(C,)`` the other one.
        item: ``(C,)`` the item of each comparison.
        weight: ``(C,)`` one divided by the comparisons of its item, so that each item counts once.
        ties: items whose label prefers nothing.
        unlabelled: items without a label.
    """

    def __init__(self, pairs: Pairs | Sequence[Pair]) -> None:
        self.items: list[Pair] = []
        self.answers: list[AnswerToScore] = []
        self.ties = self.unlabelled = 0
        compared: list[tuple[int, int, int, float]] = []
        for pair in pairs:
            if pair.label is None:
                self.unlabelled += 1
            elif is_tie(pair.label, len(pair.responses)):
                self.ties += 1
            else:
                compared += self._take(pair)
        self.chosen, self.rejected, self.item = (
            np.array([row[n] for row in compared], dtype=np.int64) for n in range(3)
        )
        self.weight = np.array([row[3] for row in compared], dtype=np.float64)

    def _take(self, pair: Pair) -> list[tuple[int, int, int, float]]:
        """Add an item; its comparisons as (chosen, rejected, item, weight)."""
        compared = comparisons(pair.label, len(pair.responses))
        number, spoken = len(self.items), sorted({place for both in compared for place in both})
        self.items.append(pair)
        rows: dict[int, int] = {}
        for place in spoken:
            rows[place] = len(self.answers)
            self.answers.append(_answer(number, place, pair))
        return [(rows[won], rows[lost], number, 1 / len(compared)) for won, lost in compared]

    @property
    def digest(self) -> str:
        """A short name of the items and their labels: the same for the same data in any order."""
        labels = sorted(f"{pair.id} {dumps(pair.label)}" for pair in self.items)
        text = "\n".join(labels).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, digest_size=4).hexdigest()

    @property
    def lengths(self) -> Floats:
        """``(A,)`` characters of each answer."""
        return np.array([answer.length for answer in self.answers], dtype=np.float64)

    @property
    def owner(self) -> Integers:
        """``(A,)`` the item of each answer."""
        return np.array([answer.item for answer in self.answers], dtype=np.int64)


def _answer(item: int, place: int, pair: Pair) -> AnswerToScore:
    response = pair.responses[place]
    length = sum(len(turn["content"]) for turn in response if turn["role"] == "assistant")
    return AnswerToScore(
        item, place, [*pair.prompt, *response[:-1]], response[-1]["content"], length
    )


class ItemRows:
    """Rows that belong to items: what is drawn again with replacement is a whole item.

    Answers to one prompt go together, so that an interval over rows would be too short.

    Args:
        item: ``(R,)`` the item of each row; rows of one item are neighbours.
    """

    def __init__(self, item: npt.NDArray[Any]) -> None:
        starts = np.flatnonzero(np.r_[True, item[1:] != item[:-1]]) if len(item) else item[:0]
        self._starts = starts
        self._counts = np.diff(np.r_[starts, len(item)])
        self.items = np.arange(len(starts))

    def of(self, items: npt.NDArray[Any]) -> Integers:
        """Return the rows of items, an item as often as it was drawn."""
        counts = self._counts[items]
        ends = np.cumsum(counts)
        first = np.repeat(self._starts[items], counts)
        return first + np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)

"""Chance that falls the same way on every machine and Python version.

Only ``random.Random.random`` promises the same numbers for one seed in every version of Python,
so picking, shuffling and sampling are built on it here.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

_Item = TypeVar("_Item")


class Dice:
    """A seeded source of choices."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def chance(self, probability: float) -> bool:
        """Come out true with this probability."""
        return self._random.random() < probability

    def below(self, bound: int) -> int:
        """Draw a whole number from 0 to ``bound - 1``."""
        return int(self._random.random() * bound)

    def pick(self, items: Sequence[_Item]) -> _Item:
        """Draw one item, all equally likely."""
        return items[self.below(len(items))]

    def weighted(self, weights: dict[_Item, float]) -> _Item:
        """Draw one key by its weight; the weights need not add up to one."""
        point = self._random.random() * sum(weights.values())
        for item, weight in weights.items():
            point -= weight
            if point < 0:
                return item
        return list(weights)[-1]

    def shuffled(self, items: Sequence[_Item]) -> list[_Item]:
        """Return the items in a new order (Fisher and Yates)."""
        result = list(items)
        for last in range(len(result) - 1, 0, -1):
            other = self.below(last + 1)
            result[last], result[other] = result[other], result[last]
        return result

    def sample(self, items: Sequence[_Item], count: int) -> list[_Item]:
        """Draw ``count`` different items, in random order."""
        return self.shuffled(items)[:count]

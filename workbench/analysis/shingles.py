"""Texts that are nearly the same: runs of three words, MinHash, and a check of each candidate.

Two texts are as alike as the share of their runs that both have (Jaccard). Texts that are much
alike have the same least run under most hash functions, so they fall into one bucket; only those
are compared.
"""

# numpy's types are partial
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from workbench.analysis.words import Hashes, words_of

LIKENESS = 0.8
LONGEST = 1_000  # words of a text that are looked at
_BANDS, _ROWS = 12, 4  # two texts of likeness 0.8 share a band with probability 0.998
_BLOCK = 4_000_000  # bytes of text, or runs of words, worked on at a time
_PAD = np.uint64(0)  # stands in for the words that a text of one or two lacks

Runs = npt.NDArray[np.uint32]
Places = npt.NDArray[np.int64]


class Alike(NamedTuple):
    """Text ``later`` is nearly the text ``earlier``; both count the texts added, from 0."""

    earlier: int
    later: int
    likeness: float


class Shingles:
    """Takes texts one by one, then finds those that are nearly the same."""

    def __init__(self) -> None:
        self._texts: list[bytes] = []  # not hashed yet
        self._size = 0
        self._runs: list[Runs] = []  # of the texts that are, in blocks
        self._lengths: list[Places] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, text: str) -> None:
        """Take the next text."""
        self._texts.append(text.casefold().encode("utf-8", "surrogatepass"))
        self._size += len(self._texts[-1]) + 1
        self._count += 1
        if self._size >= _BLOCK:
            self._hash()

    def alike(self, *, across: int = 0, likeness: float = LIKENESS) -> Iterator[Alike]:
        """Yield each text that is nearly an earlier one, once, with one that it is like.

        Args:
            across: where it is above 0, an earlier text is one of the first ``across``, and a later
                one is not.
            likeness: how much alike they must be at least, 0 to 1.
        """
        if not len(self):
            return
        self._hash()
        runs = np.concatenate(self._runs)
        ends = np.concatenate([[0], np.concatenate(self._lengths).cumsum()])
        found: set[int] = set()
        for earlier, later in _candidates(_signatures(runs, ends), across):
            if later in found:
                continue
            share = _jaccard(runs, ends, earlier, later)
            if share >= likeness:
                found.add(later)
                yield Alike(earlier, later, share)

    def _hash(self) -> None:
        """Turn the texts that wait into the hashes of their runs of three words."""
        if self._texts:
            words, counts = words_of(self._texts)
            runs, lengths = _runs_of(words, counts)
            self._runs.append(runs)
            self._lengths.append(lengths)
            self._texts, self._size = [], 0


def _runs_of(words: Hashes, counts: Places) -> tuple[Runs, Places]:
    """Return the hash of each run of three words, text after text, and how many each text has."""
    texts = np.repeat(np.arange(len(counts)), counts)
    inside = np.arange(len(words)) - np.repeat(counts.cumsum() - counts, counts)
    kept = inside < LONGEST
    sizes = np.clip(counts, 3, LONGEST)
    starts = sizes.cumsum() - sizes
    padded = np.full(int(sizes.sum()), _PAD)
    padded[starts[texts[kept]] + inside[kept]] = words[kept]
    one, two, three = (
        padded[shift : len(padded) - 2 + shift] * np.uint64(factor)
        for shift, factor in enumerate((0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9))
    )
    runs = (_mixed(one + two + three) >> np.uint64(32)).astype(np.uint32)
    whole = np.ones(len(runs), dtype=bool)
    for back in (1, 2):  # runs that begin in one text and end in the next
        whole[starts[1:] - back] = False
    return runs[whole], sizes - 2


def _mixed(values: Hashes) -> Hashes:
    """Spread the values over all 64 bits (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@lru_cache(maxsize=1)
def _hashes() -> tuple[Runs, Runs]:
    """Return what makes as many hash functions of one: x becomes (x ^ mask) * odd factor."""
    rng = np.random.default_rng(0)
    masks, factors = rng.integers(0, 2**32, (2, _BANDS * _ROWS), dtype=np.uint32)
    return masks, factors | np.uint32(1)


def _signatures(runs: Runs, ends: Places) -> Runs:
    """Return ``(texts, hashes)``: under each of several hashes, the least run of each text."""
    masks, factors = _hashes()
    signatures = np.empty((len(ends) - 1, len(masks)), dtype=np.uint32)
    first = 0
    while first < len(ends) - 1:
        fits: Any = np.searchsorted(ends, ends[first] + _BLOCK, side="right")
        last = max(int(fits) - 1, first + 1)
        part = runs[ends[first] : ends[last]]
        starts = ends[first:last] - ends[first]
        for place, (mask, factor) in enumerate(zip(masks, factors, strict=True)):
            signatures[first:last, place] = np.minimum.reduceat((part ^ mask) * factor, starts)
        first = last
    return signatures


def _candidates(signatures: Runs, across: int) -> Iterator[tuple[int, int]]:
    """Yield pairs of texts that share a band: each with the first of its bucket and the one before.

    In a bucket of many, that is a few pairs for each text, not all of them.
    """
    for band in range(_BANDS):
        part = signatures[:, band * _ROWS : (band + 1) * _ROWS].astype(np.uint64)
        keys = _mixed(part[:, 0] << np.uint64(32) | part[:, 1]) ^ (
            part[:, 2] << np.uint64(32) | part[:, 3]
        )
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        new = np.concatenate([[True], ordered[1:] != ordered[:-1]])
        firsts = order[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]
        befores = np.concatenate([order[:1], order[:-1]])
        repeated = ~new
        if across:  # buckets are in the order of the texts: one of the first part stands first
            repeated &= (firsts < across) & (order >= across)
            befores = firsts
        for earlier, before, later in zip(
            firsts[repeated].tolist(),
            befores[repeated].tolist(),
            order[repeated].tolist(),
            strict=True,
        ):
            yield earlier, later
            if before != earlier:
                yield before, later


def _jaccard(runs: Runs, ends: Places, one: int, other: int) -> float:
    first: set[Any] = set(runs[ends[one] : ends[one + 1]].tolist())
    second: set[Any] = set(runs[ends[other] : ends[other + 1]].tolist())
    return len(first & second) / len(first | second)

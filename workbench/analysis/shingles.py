"""Texts that are nearly the same: runs of three words, MinHash, and a check of each candidate.

Two texts are as alike as the share of their runs that both have (Jaccard). Texts that are much
alike have the same least run under most hash functions, so they fall into one bucket; only those
are compared.

A library for near duplicates (datasketch) hashes each text in Python and takes minutes on 150,000
pairs; here a block of texts is one array of bytes, and numpy hashes all its words together.
"""

# numpy's types are partial
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from workbench.analysis.intervals import Integers

LIKENESS = 0.8
LONGEST = 1_000  # words of a text that are looked at
_BANDS, _ROWS = 12, 4  # two texts of likeness 0.8 share a band with probability 0.998
_BLOCK = 4_000_000  # bytes of text, or runs of words, worked on at a time
_PAD = np.uint64(0)  # stands in for the words that a text of one or two lacks

_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64

_Bytes = npt.NDArray[np.uint8]
_Hashes = npt.NDArray[np.uint64]
_Runs = npt.NDArray[np.uint32]


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
        self._runs: list[_Runs] = []  # of the texts that are, in blocks
        self._lengths: list[Integers] = []
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
        repeated: set[int] = set()
        for earlier, later in _candidates(_signatures(runs, ends), across):
            if later in repeated:
                continue
            share = _jaccard(runs, ends, earlier, later)
            if share >= likeness:
                repeated.add(later)
                yield Alike(earlier, later, share)

    def _hash(self) -> None:
        """Turn the texts that wait into the hashes of their runs of three words."""
        if self._texts:
            words, counts = words_of(self._texts)
            runs, lengths = _runs_of(words, counts)
            self._runs.append(runs)
            self._lengths.append(lengths)
            self._texts, self._size = [], 0


def _runs_of(words: _Hashes, counts: Integers) -> tuple[_Runs, Integers]:
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


def _mixed(values: _Hashes) -> _Hashes:
    """Spread the values over all 64 bits (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@lru_cache(maxsize=1)
def _hashes() -> tuple[_Runs, _Runs]:
    """Return what makes as many hash functions of one: x becomes (x ^ mask) * odd factor."""
    rng = np.random.default_rng(0)
    masks, factors = rng.integers(0, 2**32, (2, _BANDS * _ROWS), dtype=np.uint32)
    return masks, factors | np.uint32(1)


def _signatures(runs: _Runs, ends: Integers) -> _Runs:
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


def _candidates(signatures: _Runs, across: int) -> Iterator[tuple[int, int]]:
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


def _jaccard(runs: _Runs, ends: Integers, one: int, other: int) -> float:
    first: set[Any] = set(runs[ends[one] : ends[one + 1]].tolist())
    second: set[Any] = set(runs[ends[other] : ends[other + 1]].tolist())
    return len(first & second) / len(first | second)


# --- words as numbers ----------------------------------------------------------------------------


def words_of(texts: list[bytes]) -> tuple[_Hashes, Integers]:
    """Return the hashes of all words, text after text, and how many words each text has.

    Words are runs of letters and digits; of the scripts that UTF-8 writes in three bytes or more,
    many of which have no blanks between words, each character is a word.

    Args:
        texts: UTF-8.
    """
    data = np.frombuffer(b"\n".join([*texts, b""]), dtype=np.uint8)
    starts, ends = _edges(data)
    powers, inverses = _powers(1 << max(16, len(data).bit_length()))
    sums = np.zeros(len(data) + 1, dtype=np.uint64)
    np.cumsum(data * powers[: len(data)], out=sums[1:])
    words = (sums[ends] - sums[starts]) * inverses[starts]  # sum of byte k of the word * BASE^k
    borders = np.cumsum([len(text) + 1 for text in texts])
    texts_of = np.searchsorted(borders, starts, side="right")
    return words, np.bincount(texts_of, minlength=len(texts)).astype(np.int64)


def _edges(data: _Bytes) -> tuple[Integers, Integers]:
    """Return where words begin, and where each ends."""
    padded = np.concatenate([np.full(4, ord("\n"), dtype=np.uint8), data])
    apart = _apart(padded)
    after = padded[3:-1]  # the byte before each byte
    within = (padded >= 0x80) & (padded < 0xC0)  # a further byte of a character
    wide = padded[4:] >= 0xE0
    wide_before = within[3:-1] & (
        ((padded[1:-3] >= 0xE0) & (padded[1:-3] < 0xF0)) | (padded[:-4] >= 0xF0)
    )
    inside = ~apart[4:] & ~within[4:]
    begins = inside & (wide | wide_before | apart[3:-1] | (after == ord("\n")))
    bounds = np.flatnonzero(begins | apart[4:])
    closes = np.append(bounds[1:], len(data))
    chosen = begins[bounds]
    return bounds[chosen], closes[chosen]


def _apart(data: _Bytes) -> npt.NDArray[np.bool_]:
    """Return which bytes stand between words: blanks and marks, of ASCII and beyond."""
    apart = _MARKS[data]
    latin = np.flatnonzero(data[:-1] == 0xC2)  # U+0080 to U+00BF: « » ¿ and their like
    for shift in (0, 1):
        apart[latin + shift] = True
    general = np.flatnonzero((data[:-2] == 0xE2) & (data[1:-1] == 0x80))  # “ ” – … and their like
    for shift in (0, 1, 2):
        apart[general + shift] = True
    return apart


_MARKS = np.array([code < 0x80 and not chr(code).isalnum() for code in range(256)])


@lru_cache(maxsize=2)
def _powers(size: int) -> tuple[_Hashes, _Hashes]:
    """Return the powers of the base modulo 2^64, and of its inverse."""
    tables: list[_Hashes] = []
    inverse: int = pow(_BASE, -1, 2**64)
    for base in (_BASE, inverse):
        powers = np.full(size, base, dtype=np.uint64)
        powers[0] = 1
        tables.append(np.cumprod(powers, dtype=np.uint64))
    return tables[0], tables[1]

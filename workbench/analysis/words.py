"""The words of many texts at once, each as a number.

A library for near duplicates (datasketch) hashes each text in Python and takes minutes on 150,000
pairs; here a block of texts is one array of bytes, and numpy hashes all its words together.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]

_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64


def words_of(texts: list[bytes]) -> tuple[Hashes, Places]:
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


def _edges(data: npt.NDArray[np.uint8]) -> tuple[Places, Places]:
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


def _apart(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
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
def _powers(size: int) -> tuple[Hashes, Hashes]:
    """Return the powers of the base modulo 2^64, and of its inverse."""
    tables: list[Hashes] = []
    inverse: int = pow(_BASE, -1, 2**64)
    for base in (_BASE, inverse):
        powers = np.full(size, base, dtype=np.uint64)
        powers[0] = 1
        tables.append(np.cumprod(powers, dtype=np.uint64))
    return tables[0], tables[1]

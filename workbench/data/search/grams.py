"""Grams: the short runs of bytes that a text is made of, each as a number.

A text that holds a word holds all grams of the word. Grams are worked out on folded UTF-8 and
begin where a character begins: three bytes (an ASCII trigram; one Chinese, Japanese or Korean
character); four and six from an ASCII character, because the common syllables of a rare word
stand in every block; six and nine (two and three Chinese characters) from any other. Those of two
Chinese characters count three times, under three numbers: many words have no other gram.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.uint32]

_THREE, _FOUR, _NINE = map(np.uint32, (0x9E3779B1, 0x85EBCA6B, 0x2C1B3C6D))
_SIX = tuple(map(np.uint32, (0xC2B2AE3D, 0x27D4EB2F, 0x165667B1)))
_FIRST, _NEXT, _LAST = map(np.uint32, (0x2545F491, 0x7FEB352D, 0x846CA68B))


def mark(text: bytes, marks: npt.NDArray[np.bool_]) -> None:
    """Set the mark of every gram of a text.

    Args:
        text: folded UTF-8.
        marks: ``(2 ** bits,)``, at least 4 and at most 2 ** 32 of them.
    """
    for numbers in _numbers(text, len(marks).bit_length() - 1):
        marks[numbers] = True


def numbers(text: bytes, bits: int) -> list[int]:
    """Return the numbers of a text's grams, each once, below ``2 ** bits``."""
    parts = [part.astype(np.int64) for part in _numbers(text, bits)]
    return [] if not parts else np.unique(np.concatenate(parts)).tolist()


def _numbers(text: bytes, bits: int) -> list[Numbers]:
    data: Bytes = np.frombuffer(text, np.uint8)
    if len(data) < 3:
        return []
    shift = np.uint32(32 - bits)
    wide = data.astype(np.uint32)
    three = wide[:-2] | wide[1:-1] << np.uint32(8) | wide[2:] << np.uint32(16)
    four = three[:-1] | wide[3:] << np.uint32(24)
    begins = (data & 0xC0) != 0x80
    plain = data < 0x80
    return [
        three[begins[:-2]] * _THREE >> shift,
        four[plain[:-3]] * _FOUR >> shift,
        _mixed(three, np.flatnonzero(plain[: max(0, len(data) - 5)])) * _SIX[0] >> shift,
        *_wide(three, np.flatnonzero(data >= 0xC0), shift),
    ]


def _wide(three: Numbers, first: npt.NDArray[np.int64], shift: np.uint32) -> list[Numbers]:
    """Return the numbers of the six and the nine bytes from each of these places."""
    six = _mixed(three, first[first + 3 < len(three)])
    first = first[first + 6 < len(three)]
    nine = _mixed(three, first) + three[first + 6] * _LAST
    return [*(six * factor >> shift for factor in _SIX), nine * _NINE >> shift]


def _mixed(three: Numbers, first: npt.NDArray[np.int64]) -> Numbers:
    """Return one number for the six bytes from each of these places."""
    six: Any = three[first] * _FIRST + three[first + 3] * _NEXT
    return six ^ six >> np.uint32(15)

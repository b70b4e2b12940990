"""Letters without case, in text that is stored as JSON: what a search has to look for.

``str.casefold`` decides what is the same: ``ß`` is ``ss``, the Kelvin sign is ``k``. Arrow's
lower case is several times as fast and differs from it in about two hundred characters, the
:func:`strangers`; texts that have one are folded by Python, and looked through with a wider and
slower regular expression.
"""

import importlib
import re
from functools import cache
from typing import Any, NamedTuple

LAST = 0x20000
"""Case ends below this code point, with Adlam (U+1E943)."""

ESCAPES = {
    '"': r"\\\"",
    "\\": r"\\\\",
    "\n": r"\\n",
    "\r": r"\\r",
    "\t": r"\\t",
    "\b": r"\\b",
    "\f": r"\\f",
}
"""How JSON writes these characters, as a regular expression."""

BROKEN = re.compile('["\\\\\x00-\x1f\ud800-\udfff]+')
"""Characters that JSON text does not hold as they are."""

ODD = r"(?:^|[^\\])(?:\\\\)*\\[u/]"
"""A regular expression for JSON text with escapes other than ``ESCAPES``."""

_TURNS = [f'"}},{{"role": "{role}", "content": "' for role in ("system", "user", "assistant")]
STRUCTURE = "\n".join(
    [turn + "\n" + turn.replace(": ", ":") for turn in _TURNS] + ["[{ }]", "}],["]
)
"""What stands around the texts in JSON messages: every row has all of it."""

_INSIDE = r'"content":\s*"(?:[^"\\]|\\.)*'


class _Folds(NamedTuple):
    """The ways back from folded text: what one folded character, or several, can have been."""

    plain: dict[str, str]
    strange: dict[str, str]
    several: list[tuple[str, str]]  # character, what it folds to: two or three characters


@cache
def _folds() -> _Folds:
    folds = _Folds({}, {}, [])
    odd_ones = frozenset(_strangers())
    for character in map(chr, (*range(ord("A"), ord("Z") + 1), *range(0x80, LAST))):
        folded = character.casefold()
        if len(folded) > 1:
            folds.several.append((character, folded))
        elif folded != character:
            ways = folds.strange if character in odd_ones else folds.plain
            ways[folded] = ways.get(folded, "") + character
    return folds


@cache
def _strangers() -> str:
    """The characters that Arrow lowers and Python folds apart, and those that fold to ASCII."""
    pa: Any = importlib.import_module("pyarrow")
    pc: Any = importlib.import_module("pyarrow.compute")
    characters = [chr(code) for code in range(0x80, LAST) if not 0xD800 <= code < 0xE000]
    lowered: list[str] = pc.utf8_lower(pa.array(characters)).to_pylist()
    pairs = zip(characters, lowered, strict=True)
    apart = [c for c, low in pairs if c.casefold() != low or c.casefold()[0].isascii()]
    return "".join(apart)


def strangers() -> str:
    """Return a regular expression for a character that Arrow's lower case does not fold."""
    return f"[{_strangers()}]"


class Patterns(NamedTuple):
    """What to look for in JSON text: where it has no strangers, and where it has some."""

    plain: str
    strange: str


def patterns(wanted: str) -> Patterns | None:
    """Return regular expressions that are found in the JSON of every text that holds ``wanted``.

    They may be found in a little more, so what they find is looked at again. Texts with escapes
    that are :data:`ODD` are not meant.

    Args:
        wanted: folded text.

    Returns:
        The expressions, for RE2; None where only odd JSON can hold such a text.
    """
    line = max(wanted.split("\n"), key=len)  # line breaks may stand between two messages
    if any(c not in ESCAPES for run in BROKEN.findall(line) for c in run):
        return None
    if not line:  # line breaks alone: found in every text, and looked at again there
        return Patterns("", "")
    folds = _folds()
    plain = [{c, *folds.plain.get(c, "")} for c in line]
    strange = [{c, *folds.plain.get(c, ""), *folds.strange.get(c, "")} for c in line]
    optional = [False] * len(line)
    known = set(line)
    for character, folded in folds.several:
        if known.isdisjoint(folded):
            continue
        for place, covered in _overlaps(line, folded):
            strange[place].add(character)
            optional[place + 1 : place + covered] = [True] * (covered - 1)
    inside = _INSIDE if line in STRUCTURE else ""
    either = (_class(one) + "?" * maybe for one, maybe in zip(strange, optional, strict=True))
    return Patterns(inside + "".join(map(_class, plain)), inside + "".join(either))


def _overlaps(line: str, folded: str) -> list[tuple[int, int]]:
    """Return where ``folded`` can cover a part of a line: the first place, and how many places.

    At its ends a line may be covered by the end of ``folded``, or by its beginning.
    """
    overlaps: list[tuple[int, int]] = []
    for place in range(1 - len(folded), len(line)):
        start, stop = max(place, 0), min(place + len(folded), len(line))
        if line[start:stop] == folded[start - place : stop - place]:
            overlaps.append((start, stop - start))
    return overlaps


def _class(characters: set[str]) -> str:
    """Return an expression for one of these characters, as JSON writes it."""
    plain = sorted(c for c in characters if c not in ESCAPES)
    if not plain:
        return f"(?:{ESCAPES[characters.pop()]})"
    return re.escape(plain[0]) if len(plain) == 1 else f"[{''.join(plain)}]"

"""Lists and objects that arrive as text: JSON, Python's spelling, NumPy's.

A table program writes a list of messages into a cell as ``[{'role': 'user', ...}]``, an encoder
writes JSON into a JSON string, and an array of objects is printed without commas.
"""

import ast
import json
import re
import warnings
from typing import Any, cast

LONGEST = 4_000_000  # [characters] of a text that is tried; longer ones stay text
_NESTED = 3  # times that JSON may stand inside a JSON string
_NOTHING = object()

# After blanks: an object in a list or alone, perhaps in quotes, perhaps with escaped quotes.
_BLANK = r"(?:\s|\\[nrt])*"  # also as an escape that was never undone
_OBJECT = re.compile(
    rf"""["\\\s\ufeff]*(?:array\(\s*)?[\[(]?{_BLANK}\{{{_BLANK}\\*["']""",
)
_LIST = re.compile(r"""\s*\[\s*(?:[\[\]"'\d-]|None\b|True\b|False\b|null\b|true\b|false\b)""")
_TOKENS = re.compile(
    r"""(?P<text>'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*")(?P<next>\s+(?=['"]))?"""
    r"""|(?P<close>[}\]])(?=\s+[{\[])|(?P<call>[A-Za-z_][\w.]*\()|,\s*(?P<dtype>dtype=[\w.]+)"""
    r"""|\b(?P<word>true|false|null|nan|NaN)\b""",
    re.DOTALL,
)
_WORDS = {"true": "True", "false": "False"}


def begins_as_object(text: str) -> bool:
    """Whether a text begins as an object does, alone or in a list, maybe within quotes."""
    return _OBJECT.match(text) is not None


def written_value(text: str) -> Any:
    """Return the list or object that a text spells; the text itself where it spells none."""
    value = _value(text.strip().lstrip("\ufeff"), _NESTED) if len(text) <= LONGEST else _NOTHING
    return cast("Any", value) if isinstance(value, list | dict) else text


def looks_written(text: str) -> bool:
    """Whether a text begins as a list or an object does, and a list ends as one too."""
    if begins_as_object(text):
        return True
    return _LIST.match(text) is not None and text.rstrip().endswith("]")


def _value(text: str, nested: int) -> Any:
    try:
        value = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        value = _python(text)
        if value is _NOTHING and '\\"' in text[:80]:  # JSON whose quotes were escaped once more
            value = _unescaped(text)
    if isinstance(value, str) and nested and value.lstrip()[:1] in ("[", "{", '"'):
        return _value(value.strip(), nested - 1)
    return value


def _unescaped(text: str) -> Any:
    try:
        return json.loads(f'"{text}"', strict=False)
    except ValueError:
        return _NOTHING


def _python(text: str) -> Any:
    """Read Python's spelling; what NumPy leaves out or puts in is mended before."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an escape that Python does not know is no news
            value: Any = ast.literal_eval(_TOKENS.sub(_mended, text))
            return list(cast("tuple[Any, ...]", value)) if isinstance(value, tuple) else value
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return _NOTHING


def _mended(token: re.Match[str]) -> str:
    if token["text"] is not None:
        return f"{token['text']}," if token["next"] else token["text"]
    if token["close"]:
        return f"{token['close']},"
    if token["call"]:  # array(, np.float64(, UUID(
        return "("
    return _WORDS.get(token["word"], "None") if token["word"] else ""

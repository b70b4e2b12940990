"""What the columns of a table that no format fits are likely to be: a proposal to a person."""

import re
from collections.abc import Sequence
from typing import Any

from workbench.data.reading.own_columns import OwnColumns, explained, values_in
from workbench.data.reading.parsed import Row

_BETTER = {
    *("chosen", "good", "better", "preferred", "accepted", "accept", "win", "winner", "winning"),
    *("best", "positive", "pos", "selected", "liked", "desired"),
}
_WORSE = {
    *("rejected", "reject", "bad", "worse", "dispreferred", "nonpreferred", "lose", "loser"),
    *("losing", "worst", "negative", "neg", "unselected", "disliked", "undesired", "other"),
}
_PROMPTS = (
    *("prompt", "question", "instruction", "query", "request", "input", "context", "user"),
    *("messages", "conversation", "conversations", "history", "task", "post", "title", "text"),
)
_LABELS = {
    *("label", "labels", "preference", "preferred", "winner", "choice", "chosen", "better"),
    *("best", "vote", "verdict", "judgement", "judgment", "selected", "decision", "result"),
}
_SIDES = (
    *(("a", "b", "c", "d"), ("1", "2", "3", "4"), ("0", "1", "2", "3"), ("left", "right")),
    *(("first", "second", "third"), ("one", "two", "three")),
)
_CODES = {"-1", "0", "1", "2", "true", "false", "yes", "no"}  # what a label may say in numbers
MOST_VALUES = 12  # different values of a column that may still be a label's


def propose_columns(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Return the mapping that the columns' names and values speak for; None where none does.

    Args:
        rows: the first rows.
    """
    names = list(dict.fromkeys(str(name) for row in rows for name in row))
    texts = [name for name in names if _is_text(rows, name)]
    pair = _pair(texts)
    if pair is not None:
        prompt = _prompt(texts, pair)
        own = OwnColumns(prompt=prompt, chosen=pair[0], rejected=pair[1])
        return own.as_mapping()
    sides = _sides(texts) or _longest(rows, texts)
    if sides is None:
        return None
    prompt = _prompt(texts, sides)
    label = _label([name for name in names if name not in (prompt, *sides)], sides, rows)
    own = OwnColumns(prompt=prompt, responses=tuple(sides), label=label)
    values = explained(own, rows)
    if any(outcome is None for outcome in values.values()):
        own = own._replace(values=_guessed(values, sides))
    return own.as_mapping()


def propose_prompt(rows: Sequence[Row]) -> str | None:
    """Return the column that is likeliest to hold the prompt; None where none holds texts."""
    names = list(dict.fromkeys(str(name) for row in rows for name in row))
    return _prompt([name for name in names if _is_text(rows, name)], ())


def as_code(source: Any, columns: dict[str, Any] | None, verb: str = "load_pairs") -> str:
    """Return the line that reads a source, with a mapping where there is one, ready to paste."""
    name = repr(str(source)) if isinstance(source, str) or hasattr(source, "parts") else "data"
    if columns is None:
        return f"wb.{verb}({name})"
    return f"wb.{verb}({name}, columns={columns!r})"


def shown_rows(rows: Sequence[Row], most: int = 3, width: int = 60) -> list[str]:
    """Return the first rows as lines to read, each value cut to ``width`` characters."""
    lines: list[str] = []
    for number, row in enumerate(rows[:most], start=1):
        cells = (f"{one_line(name, width)}={_shown(value, width)}" for name, value in row.items())
        lines.append(f"row {number}: {', '.join(cells)}")
    return lines


def _shown(value: Any, width: int) -> str:
    return repr(one_line(value, width)) if isinstance(value, str) else one_line(repr(value), width)


def one_line(text: str, width: int) -> str:
    """Return a text on one line that every screen can take, cut to ``width`` characters."""
    line = " ".join(text[: 4 * width].encode("utf-8", "replace").decode("utf-8").split())
    return line if len(line) <= width else line[: width - 1] + "…"


def _is_text(rows: Sequence[Row], name: str) -> bool:
    values = [row.get(name) for row in rows]
    return any(
        isinstance(value, list | dict) or (isinstance(value, str) and not _is_number(value))
        for value in values
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return not text.strip()
    return True


def _words(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Za-z])(?=\d)", " ", name)
    return re.findall(r"[a-z]+|\d+", spaced.lower())


def _pair(texts: Sequence[str]) -> tuple[str, str] | None:
    """Return two columns that differ in a word for better and one for worse alone."""
    for better in texts:
        for worse in texts:
            one, other = _words(better), _words(worse)
            own = [word for word in one if word not in other]
            its = [word for word in other if word not in one]
            are_opposites = set(own) <= _BETTER and set(its) <= _WORSE | {"non", "not", *_BETTER}
            if own and its and are_opposites and set(its) & (_WORSE | {"non", "not"}):
                return better, worse
    return None


def _sides(texts: Sequence[str]) -> tuple[str, ...] | None:
    """Return columns of one stem, told apart by a, b or 1, 2 and the like."""
    by_stem: dict[tuple[str, ...], dict[str, str]] = {}
    for name in texts:
        words = _words(name)
        for place, word in enumerate(words):
            stem = (*words[:place], "*", *words[place + 1 :])
            by_stem.setdefault(stem, {}).setdefault(word, name)
    best: tuple[str, ...] | None = None
    for side in _SIDES:
        for columns in by_stem.values():
            there = tuple(columns[word] for word in side if word in columns)
            if len(there) > len(best or ()) and len(there) >= 2 and side[0] in columns:
                best = there
    return best


def _longest(rows: Sequence[Row], texts: Sequence[str]) -> tuple[str, ...] | None:
    """Return the two columns with the longest texts, where a third is left for the prompt."""
    if len(texts) < 3:
        return None
    prompt = _prompt(texts, ())
    rest = [name for name in texts if name != prompt]
    by_length = sorted(rest, key=lambda name: -sum(len(str(row.get(name) or "")) for row in rows))
    two = by_length[:2]
    return tuple(name for name in texts if name in two)


def _prompt(texts: Sequence[str], answers: Sequence[str]) -> str | None:
    left = [name for name in texts if name not in answers]
    for word in _PROMPTS:
        for name in left:
            if word in _words(name):
                return name
    return left[0] if left else None


def _label(names: Sequence[str], sides: Sequence[str], rows: Sequence[Row]) -> str | None:
    """Return the column that says who is better: by its name, else by its values."""
    few = [name for name in names if 0 < len(values_in(rows, name)) <= MOST_VALUES]
    named = [name for name in few if _LABELS & set(_words(name))]
    for name in named:
        return name
    for name in few:
        own = OwnColumns(responses=tuple(sides), label=name)
        values = explained(own, rows)
        if None not in values.values() or (len(values) > 1 and set(values) <= _CODES):
            return name
    return None


def _guessed(values: dict[str, str | None], sides: Sequence[str]) -> dict[str, str]:
    """Return a guess for what is not explained: numbers in their order, the rest no label."""
    unknown = [value for value, outcome in values.items() if outcome is None]
    numbers = sorted(filter(_is_number, unknown), key=float)
    if len(numbers) == 3 and len(sides) == 2:  # less, equal, more
        guess = dict(zip(numbers, (sides[0], "tie", sides[1]), strict=True))
    else:
        guess = dict(zip(numbers, sides, strict=False))
    if set(values) == {"true", "false"}:
        guess = {"true": sides[0], "false": sides[1]}
    return {value: outcome or guess.get(value, "none") for value, outcome in values.items()}

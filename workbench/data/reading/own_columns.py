"""A person's own columns: which holds the prompt, which the answers, which says who is better."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple, cast

from workbench.data.messages import Unusable, as_messages
from workbench.data.pairs import Label
from workbench.data.reading.parsed import (
    Format,
    Parsed,
    Row,
    both_of,
    by_scores,
    choice,
    listed,
    number,
    rest,
)
from workbench.data.reading.readers_pairs import read_explicit, read_implicit, system_turn
from workbench.data.reading.transcripts import read_prompt, split_common
from workbench.errors import ConfigError, DataError

PARTS = (
    *("prompt", "chosen", "rejected", "responses", "label", "values"),
    *("scores", "system", "annotator"),
)
NAME = "own columns"
OUTCOMES = ("tie", "both_bad", "none")  # besides the answers' columns

_TIES = {"tie", "draw", "equal", "same", "both", "bothgood", "tiebothgood"}
_BOTH_BAD = {"bothbad", "neither", "tiebothbad", "bothworse"}
_FIRST = {"first": 0, "left": 0, "second": 1, "right": 1, "third": 2}
_TURNED = {"not", "no", "never", "worse", "worst", "bad", "loser", "rejected", "against"}
"""Words by which the answer that is named last is not the better one."""


class OwnColumns(NamedTuple):
    """A mapping that was checked: each part of a pair with its columns."""

    prompt: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    responses: tuple[str, ...] = ()
    label: str | None = None
    values: dict[str, str] | None = None  # a label's value -> a column of responses, or an outcome
    scores: tuple[str, ...] = ()
    system: str | None = None
    annotator: str | None = None

    def names(self) -> list[str]:
        """Return the columns that are named, in the order of the parts."""
        single = (self.prompt, self.chosen, self.rejected, self.label, self.system, self.annotator)
        return [name for name in (*single, *self.responses, *self.scores) if name is not None]

    def as_mapping(self) -> dict[str, Any]:
        """Return the mapping as a person writes it."""
        parts: dict[str, Any] = {
            name: list(cast("tuple[str, ...]", part)) if isinstance(part, tuple) else part
            for name, part in self._asdict().items()
            if part
        }
        return {name: parts[name] for name in PARTS if name in parts}


def read_mapping(columns: Mapping[str, Any]) -> OwnColumns:
    """Check the shape of a mapping of columns.

    Raises:
        ConfigError: a part is not known, or what it needs beside it is missing.
    """
    for part in columns:
        if part not in PARTS:
            meant = get_close_matches(str(part), PARTS, 1)
            raise _unfit(
                f"{part!r} is no part of a pair",
                (f"write {meant[0]!r}; " if meant else "") + f"the parts are {', '.join(PARTS)}",
            )
    parts = dict(columns)
    responses, scores = (_several(parts.pop(name, ()), name) for name in ("responses", "scores"))
    values = parts.pop("values", None)
    for part, column in parts.items():
        if not isinstance(column, str):
            raise _unfit(f"{part} names no column: {column!r}", "give the column's name as text")
    own = OwnColumns(
        **parts,
        responses=responses,
        scores=scores,
        values=None if values is None else _values(values, responses),
    )
    both = own.chosen is not None and own.rejected is not None
    if both == bool(responses) or (own.chosen is None) != (own.rejected is None):
        raise _unfit(
            f"columns names {', '.join(map(str, columns)) or 'nothing'}",
            'give {"prompt": …, "chosen": …, "rejected": …} or '
            '{"prompt": …, "responses": [one, other], "label": …}',
        )
    if both and (own.label or scores or values):
        raise _unfit("chosen is the better one: there is no label to read", "leave label out")
    if scores and len(scores) != len(responses):
        raise _unfit("there are not as many scores as responses", "name one for each, in order")
    if values is not None and own.label is None:
        raise _unfit("values explains a label, and there is none", "name the label's column")
    return own


def _several(value: Any, part: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in cast("Any", value)):
        return tuple(cast("Sequence[str]", value))
    raise _unfit(f"{part} names no columns: {value!r}", "give a list of columns' names")


def _values(values: Any, responses: tuple[str, ...]) -> dict[str, str]:
    if not isinstance(values, Mapping):
        raise _unfit("values is no mapping", 'give {"A": "response_a", "B": "response_b"}')
    read: dict[str, str] = {}
    for value, outcome in cast("Mapping[Any, Any]", values).items():
        if isinstance(outcome, int) and not isinstance(outcome, bool):
            outcome = responses[outcome] if 0 <= outcome < len(responses) else outcome
        if outcome is None:
            outcome = "none"
        if outcome not in (*responses, *OUTCOMES):
            raise _unfit(
                f"values says that {value!r} means {outcome!r}",
                f"use one of: {', '.join((*responses, *OUTCOMES))}",
            )
        read[plain_value(value)] = outcome
    return read


def _unfit(what: str, fix: str) -> ConfigError:
    return ConfigError(what, where="load_pairs(columns=...)", fix=fix)


def plain_value(value: Any) -> str:
    """Return a label's value as it is compared: text in lower case, 1.0 as 1, True as true."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip().lower()
    return text[:-2] if re.fullmatch(r"-?\d+\.0", text) else text


def meaning(value: str, responses: Sequence[str], numbers_from: int | None) -> str | None:
    """Return what a label's value says: one of the columns, an outcome, None where unknown.

    Args:
        value: as :func:`plain_value` gives it.
        responses: the answers' columns.
        numbers_from: what bare numbers count from; None where that is not known.
    """
    for column in responses:
        if value == plain_value(column):
            return column
    word = re.sub(r"[\W_]", "", value)
    if word in _TIES or word in _BOTH_BAD:
        return "tie" if word in _TIES else "both_bad"
    own, tokens = _own_parts(responses), _tokens(value)
    last = (tokens or [""])[-1]
    if _TURNED.intersection(tokens) or len({*own, *_FIRST}.intersection(tokens)) > 1:
        return None  # "A is better than B": which of them it means is for a person to say
    if own.count(last) == 1 and last:
        return responses[own.index(last)]
    place = _FIRST.get(last)
    if place is None and re.fullmatch("[a-z]", last) and len(_tokens(value)) <= 2:
        place = ord(last) - ord("a")
    if place is None and numbers_from is not None and value.isdecimal():
        place = int(value) - numbers_from
    return responses[place] if place is not None and 0 <= place < len(responses) else None


def _own_parts(responses: Sequence[str]) -> list[str]:
    """Return what tells each column from the others: a, b; 1, 2; left, right."""
    tokens = [_tokens(column) for column in responses]
    shared = set(tokens[0]).intersection(*tokens[1:]) if tokens else set[str]()
    own = [[token for token in one if token not in shared] for one in tokens]
    return [one[-1] if one else "" for one in own]


def _tokens(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Za-z])(?=\d)", " ", name)
    return re.findall(r"[a-z]+|\d+", spaced.lower())


def numbers_count_from(values: Sequence[str], responses: Sequence[str]) -> int | None:
    """Return 1 where a label's numbers can only count the answers from 1, else None.

    0 and 1 say nothing: they count from 0, or say whether the first is better.
    """
    counted = {int(value) for value in values if value.isdecimal()}
    fits = counted and 0 not in counted and max(counted) == len(responses)
    return 1 if fits else None


def values_in(rows: Sequence[Row], column: str) -> dict[str, int]:
    """Return the different values of a label's column, as they are compared, with their rows."""
    counts: dict[str, int] = {}
    for row in rows:
        value = _cell(row, column)
        if value is not None and not (isinstance(value, str) and not value.strip()):
            plain = plain_value(value)
            counts[plain] = counts.get(plain, 0) + 1
    return counts


def explained(own: OwnColumns, rows: Sequence[Row]) -> dict[str, str | None]:
    """Return what each value of the label's column says; None for those that are not explained."""
    if own.label is None:
        return {}
    counts = values_in(rows, own.label)
    numbers_from = numbers_count_from(list(counts), own.responses)
    named = own.values or {}
    return {
        value: named.get(value)
        if own.values is not None
        else meaning(value, own.responses, numbers_from)
        for value in counts
    }


def _cell(row: Row, column: str) -> Any:
    """Return a cell; a known column may have been renamed to lower case."""
    return row[column] if column in row else row.get(column.strip().lower())


def own_format(columns: Mapping[str, Any], rows: Sequence[Row], name: str) -> Format:
    """Return the format that a person's mapping describes.

    Args:
        columns: the mapping; see :func:`workbench.load_pairs`.
        rows: the first rows, to see that the columns are there and what the label says.
        name: of the source, for messages.

    Raises:
        ConfigError: the mapping is none.
        DataError: a column is not there, or the label has a value that is not explained.
    """
    own = read_mapping(columns)
    there = list(dict.fromkeys(str(column) for row in rows for column in row))
    for column in own.names():
        if column not in there and column.strip().lower() not in there:
            meant = get_close_matches(column, there, 1)
            raise DataError(
                f"there is no column {column!r}",
                where=f"{name} (columns: {', '.join(there) or 'none'})",
                fix=f"write {meant[0]!r}" if meant else "name one of the columns that are there",
            )
    outcomes = explained(own, rows)
    unknown = [value for value, outcome in outcomes.items() if outcome is None]
    if unknown:
        counts = values_in(rows, own.label or "")
        proposal = {value: outcome or own.responses[0] for value, outcome in outcomes.items()}
        raise DataError(
            f"the label {own.label!r} has values that are not explained: {', '.join(unknown)}",
            where=f"{name} (values: {', '.join(f'{v!r} in {n} rows' for v, n in counts.items())})",
            fix="say which answer each means, or tie, both_bad, none; for example "
            f"columns={ {**own.as_mapping(), 'values': proposal}!r}",
        )
    numbers_from = numbers_count_from(list(outcomes), own.responses)

    def read(row: Row) -> Parsed:
        return _read(row, own, numbers_from)

    return Format(NAME, (), read)


def _read(row: Row, own: OwnColumns, numbers_from: int | None) -> Parsed:
    cells = {column: _cell(row, column) for column in own.names()}
    used = {column if column in row else column.strip().lower() for column in cells}
    others = {column: value for column, value in row.items() if column not in used}
    if own.annotator is not None and cells[own.annotator] is not None:
        others = both_of(others, {"annotator": cells[own.annotator]})
    if own.chosen is not None and own.rejected is not None:
        parsed = _read_both(cells, own, others)
    else:
        parsed = _read_several(cells, own, others, numbers_from)
    if own.system is not None:
        parsed = parsed._replace(prompt=system_turn(cells[own.system]) + parsed.prompt)
    return parsed


def _read_both(cells: dict[str, Any], own: OwnColumns, others: dict[str, Any]) -> Parsed:
    """Read chosen and rejected as every other format with these columns does."""
    names = {"prompt": own.prompt, "chosen": own.chosen, "rejected": own.rejected}
    row = {part: cells[column] for part, column in names.items() if column is not None}
    more = {column: value for column, value in others.items() if column not in names}
    parsed = (read_explicit if own.prompt is not None else read_implicit)({**more, **row})
    clashing = {column: value for column, value in others.items() if column in names}
    return parsed._replace(meta={**parsed.meta, **rest(clashing)})


def _read_several(
    cells: dict[str, Any], own: OwnColumns, others: dict[str, Any], numbers_from: int | None
) -> Parsed:
    values = [cells[column] for column in own.responses]
    if len(own.responses) == 1:
        values = listed(values[0], own.responses[0])
    if own.prompt is not None:
        prompt = read_prompt(cells[own.prompt])
        responses = [as_messages(value, "assistant") for value in values]
    elif len(values) == 2:
        prompt, *responses = split_common(*(as_messages(value, "user") for value in values))
    else:
        raise Unusable("there is no prompt")
    label: Label | None = None
    read_as: tuple[str, str] | None = None
    if own.label is not None:
        label, read_as = _label(cells[own.label], own, numbers_from)
    elif own.scores:
        label = by_scores([number(cells[column]) for column in own.scores])
    return Parsed(prompt, responses, label, rest(others), read_as=read_as)


def _label(
    value: Any, own: OwnColumns, numbers_from: int | None
) -> tuple[Label | None, tuple[str, str] | None]:
    """Return the label that a value says, and the column with what it was read as."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None, None
    plain = plain_value(value)
    outcome = (
        own.values.get(plain)
        if own.values is not None
        else meaning(plain, own.responses, numbers_from)
    )
    if outcome is None:
        raise Unusable(f"the label's value is not explained by values: {plain[:40]}")
    column = own.label or ""
    if outcome in own.responses:
        reading = column, f"{plain!r} read as: {outcome} is better"
        return choice(own.responses.index(outcome)), reading
    words = {"tie": "a tie", "both_bad": "both are bad", "none": "no label"}[outcome]
    label = None if outcome == "none" else {"kind": outcome}
    return label, (column, f"{plain!r} read as: {words}")

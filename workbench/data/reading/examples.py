"""Prompts to sample from, and examples to learn from: strict, since nothing here is messy."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from difflib import get_close_matches
from functools import partial
from typing import Any, cast

from workbench.data.messages import (
    Message,
    Unusable,
    as_messages,
    check_prompt,
    check_response,
    holds_something,
    instructed,
    refuse_media,
)
from workbench.data.pairs import Pairs
from workbench.data.reading.column_proposal import as_code, propose_prompt, shown_rows
from workbench.data.reading.parsed import Parsed, Part
from workbench.data.reading.readers import FORMATS
from workbench.data.reading.readers_pairs import read_implicit, system_turn
from workbench.data.reading.sources import Record, open_source
from workbench.data.reading.transcripts import read_prompt
from workbench.errors import ConfigError, DataError, nearest

PROMPT_PARTS = ("prompt", "system")
_TALKS, _QUESTIONS = ("messages", "conversations", "conversation"), ("question", "query")
_ANSWERS = ("output", "response", "completion", "answer")
_PROMPT_COLUMNS = {"prompt", "instruction", *_TALKS, *_QUESTIONS}
_PARTS = {*_PROMPT_COLUMNS, *_ANSWERS, "input", "system", "chosen", "rejected"}


def load_prompts(
    source: Any,
    columns: Mapping[str, Any] | None = None,
    left_out: Counter[str] | None = None,
) -> list[list[Message]]:
    """Read prompts from a file (as load_pairs does, and .txt: one a line), a frame or a list.

    A row has ``prompt`` (text or messages) or ``instruction`` with an optional ``input``; else
    ``messages`` or ``conversations``, of which the turns up to the last user's are taken;
    ``question`` or ``query``; ``chosen`` and ``rejected``, of which what both begin with is taken;
    or any other columns that load_pairs knows. A ``system`` text stands before turns and
    questions. A list may hold plain strings or message
    lists too; of pairs, the prompts are taken. A lone ``text`` is not taken for a prompt, since
    it may be all that a model is to learn (:func:`load_examples`).

    Args:
        source: what to read.
        columns: which column is which, where they are called otherwise: ``{"prompt": "text"}``,
            and ``system`` beside it.
        left_out: is told how many rows had a field that is no part of a prompt or an answer, such
            as ``tool_calls`` in a message or a column of its own.

    Returns:
        One message list a prompt; each ends with a user message.

    Raises:
        DataError: a row holds no prompt, there is none at all, or no such column.
        ConfigError: a part of ``columns`` that does not exist.
    """
    records = _records(source, "prompt")
    prompt_of, parts = _prompt_in_any_column, _PARTS
    if columns is None:
        _check_known(records, source)
    else:
        own = _checked(columns, records)
        prompt_of, parts = partial(_own_prompt, own=own), {*own.values()}
    return [_prompt(record, name, prompt_of, parts, left_out) for name, record in records]


def _check_known(records: list[tuple[str, Record]], source: Any) -> None:
    """See that a column of the first row may hold its prompt.

    Raises:
        DataError: none does; it proposes a mapping, ready to paste.
    """
    name, first = records[0]
    row = {} if first.bad else _readable(first, name)
    if first.bad or _PROMPT_COLUMNS & row.keys() or _has_pair(row):
        return
    rows = [record.fields for _, record in records[:20] if not record.bad]
    column = propose_prompt(rows)
    line = as_code(source, {"prompt": column or "…"}, "load_prompts")
    known = ", ".join(sorted(_PROMPT_COLUMNS))
    raise DataError(
        f"no known column holds a prompt: {', '.join(row) or '(none)'}",
        where="\n         ".join([name, *shown_rows(rows)]),
        fix="say which column does"
        + (", for example (check it first):" if column else ":")
        + f"\n           {line}\n         or rename it to one of {known}",
    )


def _has_pair(row: dict[str, Any]) -> bool:
    try:
        return _pair_in(row) is not None
    except Unusable:  # its reader knows the columns; what is wrong with the row is told as that
        return True


def _checked(columns: Mapping[str, Any], records: list[tuple[str, Record]]) -> dict[str, str]:
    """Return a mapping of columns whose parts and columns there are."""
    known = {str(name).strip().lower() for _, record in records for name in record.fields}
    own = {part: str(column).strip().lower() for part, column in columns.items()}
    if "prompt" not in own or not own.keys() <= set(PROMPT_PARTS):
        unknown = [str(part) for part in own if part not in PROMPT_PARTS]
        meant = get_close_matches(unknown[0], PROMPT_PARTS, 1) if unknown else []
        raise ConfigError(
            f"columns names {', '.join(map(str, own)) or 'nothing'}",
            where="load_prompts(columns=...)",
            fix=(f"write {meant[0]!r}; " if meant else "")
            + 'give {"prompt": …}, and "system" where there is one',
        )
    for column in own.values():
        if column not in known:
            raise DataError(
                f"there is no column {column!r}",
                where=f"{records[0][0]} (columns: {', '.join(sorted(known)) or 'none'})",
                fix=f"{nearest(column, sorted(known))}name one of the columns that are there",
            )
    return own


def _own_prompt(row: dict[str, Any], own: dict[str, str]) -> list[Message]:
    turns = read_prompt(row.get(own["prompt"]))
    ends = [place for place, turn in enumerate(turns, start=1) if turn["role"] == "user"]
    system = system_turn(row.get(own["system"])) if "system" in own else []
    return system + turns[: ends[-1] if ends else None]


def load_examples(source: Any, left_out: Counter[str] | None = None) -> list[dict[str, Any]]:
    """Read texts or instructions to train on.

    A row has ``text``; or ``instruction``, an optional ``input`` and ``output``; or ``prompt``,
    ``question`` or ``query`` and ``response``, ``completion`` or ``answer``; or ``messages`` or
    ``conversations``, whose last turn is the assistant's.

    Returns:
        ``{"text": str}`` or ``{"prompt": [messages], "response": [messages]}`` for each row.

    Raises:
        DataError: a row holds none of these, or there is none at all.
    """
    return [_example(record, name, left_out) for name, record in _records(source, "text")]


def _records(source: Any, bare: str) -> list[tuple[str, Record]]:
    """Return all rows; what a list holds as it stands (text, messages) is put under ``bare``."""
    if isinstance(source, Pairs):
        source = [pair.as_dict() for pair in source]
    if isinstance(source, list | tuple):
        source = [_named(entry, bare) for entry in cast("list[Any]", source)]
    opened = open_source(source)
    with closing(opened.records) as records:
        rows = [(opened.name, record) for record in records]
    if not rows:
        raise DataError("there are no rows", where=opened.name, fix="give data with rows in it")
    return rows


def _named(entry: Any, bare: str) -> Any:
    if isinstance(entry, str):
        return {bare: entry}
    if isinstance(entry, list):
        return {"prompt" if bare == "prompt" else "messages": cast("list[Any]", entry)}
    return entry


def _prompt(
    record: Record,
    name: str,
    prompt_of: Callable[[dict[str, Any]], list[Message]],
    parts: set[str],
    left_out: Counter[str] | None,
) -> list[Message]:
    row = _readable(record, name)
    try:
        refuse_media(row)
        turns = prompt_of(row)
        prompt = _texts(turns)
        check_prompt(prompt)
    except Unusable as why:
        raise _bad_row(why, record, name) from why
    _count(left_out, row, turns, parts)
    return prompt


def _count(
    left_out: Counter[str] | None, row: dict[str, Any], turns: list[Message], parts: set[str]
) -> None:
    """Count the fields of a row that none of its parts is made of, each once a row."""
    if left_out is not None:
        columns = {name for name, value in row.items() if holds_something(value)} - parts
        left_out.update(columns.union(*(turn.get("beside", ()) for turn in turns)))


def _texts(turns: list[Message]) -> list[Message]:
    """Return turns with their texts alone: tool calls and the like are no part of them."""
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns]


def _prompt_in_any_column(row: dict[str, Any]) -> list[Message]:
    """Return the prompt of a row, from the first column that has one."""
    columns = {name for name, value in row.items() if value is not None}
    if columns & {"prompt", "instruction"}:
        return _prompt_of(row)
    system = system_turn(row.get("system"))
    for name in _TALKS:
        if name in columns:
            turns = as_messages(row[name], "user")
            ends = [place for place, turn in enumerate(turns, start=1) if turn["role"] == "user"]
            return system + turns[: ends[-1] if ends else None]
    for name in _QUESTIONS:
        if name in columns:
            return system + as_messages(row[name], "user")
    parsed = _pair_in(row)
    return _prompt_of(row) if parsed is None else parsed.prompt


def _pair_in(row: dict[str, Any]) -> Parsed | Part | None:
    """Return the pair that a row of a known format holds, or a part of one."""
    if {"chosen", "rejected"} <= row.keys():
        return read_implicit(row.copy())
    for fmt in FORMATS:
        if fmt.auto and fmt.needs and all(row.get(name) is not None for name in fmt.needs):
            parsed = fmt.parse(row.copy()) if fmt.matches(row) and not fmt.asks else None
            if isinstance(parsed, Parsed | Part):
                return parsed
    return None


def _example(record: Record, name: str, left_out: Counter[str] | None) -> dict[str, Any]:
    row = _readable(record, name)
    try:
        first = {"prompt", "instruction", "messages"}
        if first.isdisjoint(row) and ("text" in row or _PROMPT_COLUMNS.isdisjoint(row)):
            text = _text(row)
            _count(left_out, row, [], {"text"})
            return {"text": text}
        refuse_media(row)
        before, answered = _turns(row)
        prompt, response = _texts(before), _texts(answered)
        check_prompt(prompt)
        check_response(response)
    except Unusable as why:
        raise _bad_row(why, record, name) from why
    _count(left_out, row, before + answered, _PARTS)
    return {"prompt": prompt, "response": response}


def _turns(row: dict[str, Any]) -> tuple[list[Message], list[Message]]:
    """Return a row's prompt and its response."""
    if "messages" in row:
        turns = as_messages(row["messages"], "user")
        return turns[:-1], turns[-1:]
    talk = next((row[name] for name in _TALKS if row.get(name) is not None), None)
    if talk is not None and {"prompt", "instruction"}.isdisjoint(row):
        turns = system_turn(row.get("system")) + as_messages(talk, "user")
        return turns[:-1], turns[-1:]
    answers = [row[key] for key in _ANSWERS if key in row]
    if not answers:
        raise Unusable("there is no output, response, completion or answer")
    return _prompt_in_any_column(row), as_messages(answers[0], "assistant")


def _prompt_of(row: dict[str, Any]) -> list[Message]:
    """Return the prompt of a row: ``prompt``, or ``instruction`` with what it is about."""
    if "instruction" not in row or row.get("prompt") is not None:
        return read_prompt(row.get("prompt"))
    return instructed(row["instruction"], row.get("input"))


def _text(row: dict[str, Any]) -> str:
    text = row.get("text")
    if not isinstance(text, str):
        raise Unusable("there is no text, instruction, prompt or messages")
    if not text.strip():
        raise Unusable("the text is empty")
    return text


def _readable(record: Record, name: str) -> dict[str, Any]:
    if record.bad:
        raise _bad_row(Unusable(record.bad), record, name)
    return {str(key).strip().lower(): value for key, value in record.fields.items()}


def _bad_row(why: Unusable, record: Record, name: str) -> DataError:
    columns: Iterable[str] = map(str, record.fields)
    return DataError(
        why.reason,
        where=f"{name}:{record.row} (columns: {', '.join(columns) or 'none'})",
        fix="mend or delete this row; prompts need prompt, instruction, messages, conversations, "
        "question, query, or chosen and rejected; examples need text, instruction + output, "
        "prompt or question + response or answer, messages or conversations",
    )

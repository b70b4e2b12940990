"""Prompts to sample from, and examples to learn from: strict, since nothing here is messy."""

from collections.abc import Iterable
from contextlib import closing
from typing import Any, cast

from workbench.data.messages import (
    Message,
    Unusable,
    as_messages,
    check_prompt,
    check_response,
    instructed,
    refuse_media,
)
from workbench.data.pairs import Pairs
from workbench.data.reading.parsed import Parsed, Part
from workbench.data.reading.readers import FORMATS
from workbench.data.reading.readers_pairs import read_implicit, system_turn
from workbench.data.reading.sources import Record, open_source
from workbench.data.reading.transcripts import read_prompt
from workbench.errors import DataError


def load_prompts(source: Any) -> list[list[Message]]:
    """Read prompts from a file (as load_pairs does, and .txt: one a line), a frame or a list.

    A row has ``prompt`` (text or messages) or ``instruction`` with an optional ``input``; else
    ``messages`` or ``conversations``, of which the turns up to the last user's are taken;
    ``question`` or ``query``; ``chosen`` and ``rejected``, of which what both begin with is taken;
    or any other columns that load_pairs knows. A ``system`` text stands before turns and
    questions. A list may hold plain strings or message
    lists too; of pairs, the prompts are taken.

    Returns:
        One message list a prompt; each ends with a user message.

    Raises:
        DataError: a row holds no prompt, or there is none at all.
    """
    return [_prompt(record, name) for name, record in _records(source, "prompt")]


def load_examples(source: Any) -> list[dict[str, Any]]:
    """Read texts or instructions to train on.

    A row has ``text``; or ``instruction``, an optional ``input`` and ``output``; or ``prompt`` and
    ``response`` (or ``completion``); or ``messages``, whose last turn is the assistant's.

    Returns:
        ``{"text": str}`` or ``{"prompt": [messages], "response": [messages]}`` for each row.

    Raises:
        DataError: a row holds none of these, or there is none at all.
    """
    return [_example(record, name) for name, record in _records(source, "text")]


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


def _prompt(record: Record, name: str) -> list[Message]:
    row = _readable(record, name)
    try:
        refuse_media(row)
        prompt = _texts(_prompt_in_any_column(row))
        check_prompt(prompt)
    except Unusable as why:
        raise _bad_row(why, record, name) from why
    return prompt


def _texts(turns: list[Message]) -> list[Message]:
    """Return turns with their texts alone: tool calls and the like are no part of them."""
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns]


def _prompt_in_any_column(row: dict[str, Any]) -> list[Message]:
    """Return the prompt of a row, from the first column that has one."""
    columns = {name for name, value in row.items() if value is not None}
    if columns & {"prompt", "instruction"}:
        return _prompt_of(row)
    system = system_turn(row.get("system"))
    for name in ("messages", "conversations", "conversation"):
        if name in columns:
            turns = as_messages(row[name], "user")
            ends = [place for place, turn in enumerate(turns, start=1) if turn["role"] == "user"]
            return system + turns[: ends[-1] if ends else None]
    for name in ("question", "query"):
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


def _example(record: Record, name: str) -> dict[str, Any]:
    row = _readable(record, name)
    try:
        if {"prompt", "instruction", "messages"}.isdisjoint(row):
            return {"text": _text(row)}
        refuse_media(row)
        prompt, response = map(_texts, _turns(row))
        check_prompt(prompt)
        check_response(response)
    except Unusable as why:
        raise _bad_row(why, record, name) from why
    return {"prompt": prompt, "response": response}


def _turns(row: dict[str, Any]) -> tuple[list[Message], list[Message]]:
    """Return a row's prompt and its response."""
    if "messages" in row:
        turns = as_messages(row["messages"], "user")
        return turns[:-1], turns[-1:]
    answers = [row[key] for key in ("output", "response", "completion") if key in row]
    if not answers:
        raise Unusable("there is no output, response or completion")
    return _prompt_of(row), as_messages(answers[0], "assistant")


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
        "prompt + response, or messages",
    )

"""Readers of what annotation tools export: Argilla and Label Studio.

An item may have been labelled by several people; their labels are put together by majority. An
item that nobody has decided yet has no label.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, cast

from workbench.data.messages import Unusable, as_messages
from workbench.data.reading.parsed import (
    Label,
    Parsed,
    Row,
    both_of,
    by_ranks,
    choice,
    mapping,
    number,
    rest,
    unpacked,
)
from workbench.data.store.majority import majority

_ANSWER = re.compile(
    r"(response|answer|completion|generation|output|summary|reply|text)[ _-]?(\d+|[a-d])$", re.I
)
_PROMPTS = ("prompt", "instruction", "question", "input", "query", "messages", "conversation")
_FLAT = re.compile(r"(.+)\.(?:responses?)(?:\.(.+))?$")  # q.responses, q.response.<user>
_UNDECIDED = ("draft", "discarded")  # what Argilla calls an answer that does not count
_WORDS: dict[str, Label] = {
    "tie": {"kind": "tie"},
    "draw": {"kind": "tie"},
    "bothbad": {"kind": "both_bad"},
    "neither": {"kind": "both_bad"},
}


def read_argilla(row: Row) -> Parsed:
    """Read a record of Argilla: a choice names the better field, a ranking puts the best first.

    Raises:
        Unusable: the fields or the question cannot be told from the others.
    """
    fields = mapping(row.get("fields")) or row
    prompt, names = _prompt_field(fields), _answer_fields(fields)
    if len(names) < 2:
        raise Unusable("the answers cannot be told from the other fields")
    values = _nested_values(row.get("responses")) if fields is not row else _flat_values(row)
    by_question: dict[str, list[Label]] = {}
    unread: set[str] = set()
    for question, value in values:
        label = _label_of(value, names)
        if label is None:
            unread.add(question)
        else:
            by_question.setdefault(question, []).append(label)
    labels = [own for question, own in by_question.items() if question not in unread]
    if len(labels) > 1:
        raise Unusable("several questions could be the label")
    if unread and not labels:
        raise Unusable("no answer to a question names the better response")
    return _item(row, fields, prompt, names, labels[0] if labels else [])


def read_label_studio(row: Row) -> Parsed:
    """Read a task of Label Studio: selected left is the first of the two answers.

    The editor names the control itself in ``to_name``, not the two texts; these are then told by
    their names in the task's data.
    """
    fields = mapping(row.get("data"))
    prompt, names = _prompt_field(fields), _answer_fields(fields)
    labels: list[Label] = []
    for annotation in _dicts(row.get("annotations")):
        for result in _dicts(annotation.get("result")):
            side = mapping(result.get("value")).get("selected")
            if side not in ("left", "right") or annotation.get("was_cancelled"):
                continue
            pair = [name for name in str(result.get("to_name")).split(",") if name in fields]
            names = pair if len(pair) == 2 else names
            labels.append(choice(("left", "right").index(side)))
    if len(names) != 2:
        raise Unusable("the answers cannot be told from the other fields")
    return _item(row, fields, prompt, names, labels)


def _item(
    row: Row, fields: dict[str, Any], prompt: str, names: list[str], labels: list[Label]
) -> Parsed:
    responses = [as_messages(fields.get(name), "assistant") for name in names]
    meta = rest(fields, (prompt, *names))
    if fields is not row:
        meta = both_of(rest(row, ("fields", "data")), meta)
    label = majority(labels) if len(labels) > 1 else labels[0] if labels else None
    return Parsed(as_messages(fields.get(prompt), "user"), responses, label, meta)


def _prompt_field(fields: dict[str, Any]) -> str:
    """Return the name of the prompt's field."""
    name = next((name for name in _PROMPTS if fields.get(name) is not None), None)
    if name is None:
        raise Unusable("the prompt cannot be told from the other fields")
    return name


def _answer_fields(fields: dict[str, Any]) -> list[str]:
    """Return the names of the answers' fields in their order."""
    names = [str(name) for name in fields if _ANSWER.match(str(name))]
    if not names:
        names = [name for name in ("chosen", "rejected") if name in fields]
    return sorted(names, key=lambda name: (len(name), name.lower()))


def _flat_values(row: Row) -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        match = _FLAT.match(str(name))
        if match is None or match[2] in ("users", "status"):
            continue
        if match[2] is not None or not isinstance(value, list):
            value = [value]
        states = _list(row.get(f"{match[1]}.responses.status"))
        for place, answer in enumerate(cast("list[Any]", value)):
            state = states[place] if place < len(states) else None
            if answer is not None and state not in _UNDECIDED:
                yield match[1], answer


def _nested_values(responses: Any) -> Iterator[tuple[str, Any]]:
    """Yield what was answered, from ``{question: [{"value"}]}`` or ``[{"values": {question}}]``."""
    for question, answers in mapping(responses).items():
        for one in _dicts(answers):
            if one.get("status") not in _UNDECIDED and one.get("value") is not None:
                yield question, one["value"]
    for one in _dicts(responses):
        if one.get("status") not in _UNDECIDED:
            for question, answer in mapping(one.get("values")).items():
                yield question, mapping(answer).get("value")


def _label_of(value: Any, names: list[str]) -> Label | None:
    """Return the label that an answer to a question says, None where it says none."""
    places = {_key(name): place for place, name in enumerate(names)}
    if isinstance(value, str):
        place = places.get(_key(value))
        if place is not None:
            return choice(place)
        return dict(_WORDS[_key(value)]) if _key(value) in _WORDS else None
    ranks: list[float | None] = [None] * len(names)
    for name, rank in _ranking(value):
        place = places.get(_key(name))
        if place is None:
            return None
        ranks[place] = number(rank)
    try:
        return by_ranks(ranks)
    except Unusable:
        return None


def _ranking(value: Any) -> Iterable[tuple[Any, Any]]:
    """Return names with ranks from the shapes that a ranking has: 1, or the first, is best."""
    if isinstance(value, dict):  # {"value": [names], "rank": [ranks]}
        fields = cast("dict[str, Any]", value)
        return zip(_list(fields.get("value")), _list(fields.get("rank")), strict=False)
    names = _list(value)
    if all(isinstance(one, dict) for one in names):
        return [(one.get("value"), one.get("rank")) for one in _dicts(names)]
    return [(name, place) for place, name in enumerate(names, start=1)]


def _key(name: Any) -> str:
    return re.sub(r"[\W_]", "", str(name)).lower()


def _list(value: Any) -> list[Any]:
    value = unpacked(value, ("[",))
    return cast("list[Any]", value) if isinstance(value, list) else []


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [cast("dict[str, Any]", one) for one in _list(value) if isinstance(one, dict)]


def is_argilla(row: Row) -> bool:
    """Whether the row is an Argilla record: nested, or with a column of answers to a question."""
    if mapping(row.get("fields")):
        return "responses" in row or "suggestions" in row
    return any(_FLAT.match(str(name)) or str(name).endswith(".suggestion") for name in row)


def is_label_studio(row: Row) -> bool:
    """Whether the row is a task of Label Studio."""
    tasks = unpacked(row["annotations"], ("[",))
    return bool(mapping(row["data"])) and isinstance(tasks, list)

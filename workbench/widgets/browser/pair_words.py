"""A pair in words: its label, its source, the start of its texts."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from workbench.widgets.kit.wire import outgoing

SNIPPET = 220
"""Characters of a table cell that travel."""

Messages = Sequence[Mapping[str, Any]]


def letter(answer: int) -> str:
    """Return the name of an answer by its place: A, B, …, Z, then numbers."""
    return chr(ord("A") + answer) if answer < 26 else str(answer + 1)


def label_text(label: Mapping[str, Any] | None, answers: int) -> str:
    """Return a label in words: "A is better (2)", "tie", "both bad", or nothing."""
    kind = (label or {}).get("kind")
    if label is None or kind is None:
        return ""
    if kind != "choice":
        return {"tie": "tie", "both_bad": "both bad"}.get(str(kind), str(kind))
    strength = label.get("strength")
    text = f"{letter(int(label['winner']))} is {'better' if answers == 2 else 'best'}"
    return text if strength is None else f"{text} ({strength:g})"


def source_name(source: Mapping[str, Any]) -> str:
    """Return where a row came from, without its number: what the source filter lists."""
    known = [source.get(name) for name in ("dataset", "file", "run", "model", "config", "split")]
    named = [str(value) for value in known if value not in (None, "")]
    return " · ".join(named) or "-"


def source_text(source: Mapping[str, Any]) -> str:
    """Return where a row came from, with its number: ``file:row``."""
    number = source.get("row", source.get("step"))
    return source_name(source) + ("" if number is None else f":{number}")


def snippet(text: str, query: str = "") -> str:
    """Return the start of a text on one line, or the part of it where ``query`` stands."""
    start = 0
    if query:
        place = text.casefold().find(query.casefold())
        start = place - 16 if place > 24 else 0
    part = re.sub(r"[ \t\r\n]+", " ", text[start : start + SNIPPET])
    ends = ("… " if start else "", "…" if len(text) > start + SNIPPET else "")
    return outgoing(ends[0] + part + ends[1])


def joined_text(messages: Messages) -> str:
    """Return what the messages say, one after the other."""
    return "\n".join(str(message["content"]) for message in messages)


def length(messages: Messages) -> int:
    """Return how long the messages are, in characters."""
    return sum(len(message["content"]) for message in messages)


def last_user(prompt: Messages) -> str:
    """Return the last thing the user said: what the answers answer."""
    turns = [message["content"] for message in prompt if message["role"] == "user"]
    return str(turns[-1]) if turns else joined_text(prompt)


def named_values(values: Mapping[str, Any]) -> list[list[str]]:
    """Return names and short values for the line under a pair; nested values as JSON."""
    out: list[list[str]] = []
    for name, value in values.items():
        if value in (None, "", "-", [], {}) or name in ("kind", "winner"):
            continue
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        text = text if len(text) <= 160 else text[:160] + "…"
        out.append([outgoing(str(name).replace("_", " ")), outgoing(text)])
    return out[:24]

"""Prompts and answers as plain text: a text stays, messages are joined."""

from collections.abc import Mapping
from typing import Any


def as_text(value: Any) -> str:
    """A prompt or an answer as text; of messages, their contents, one below the other."""
    if isinstance(value, Mapping):
        return str(value.get("content", ""))
    if isinstance(value, list | tuple):
        return "\n".join(as_text(part) for part in value)
    return "" if value is None else str(value)


def abridged(text: str, most: int) -> str:
    """A text, or its first ``most`` characters and how many it has in all."""
    if len(text) <= most:
        return text
    return f"{text[:most]} … (the first {most:,} of {len(text):,} characters)"

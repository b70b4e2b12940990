"""Transcripts with role markers, read by turns and never by characters."""

import re
from typing import Any

from workbench.data.messages import Message, Unusable, as_messages, keep_beside, turn_key

# A turn begins at a blank line, a role and a colon. The same word inside a line is text: 40 of the
# 2,312 rows of the hh-rlhf file that was measured have one.
MARKER = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant|System):")
_ROLES = {"Human": "user", "Assistant": "assistant", "System": "system"}


def has_markers(text: str) -> bool:
    """Whether the text is a transcript: it begins with a role marker."""
    return MARKER.match(text) is not None


def read_transcript(text: str) -> list[Message]:
    r"""Return the turns of a text in which each begins with ``\n\nHuman:`` or the like.

    Raises:
        Unusable: the text does not begin with a role marker.
    """
    if not has_markers(text):
        raise Unusable("no role markers: the prompt cannot be told from the answer")
    parts = MARKER.split(text)[1:]  # role, text, role, text, ...
    return [
        {"role": _ROLES[role], "content": text.strip()}
        for role, text in zip(parts[::2], parts[1::2], strict=True)
    ]


def split_common(
    chosen: list[Message], rejected: list[Message]
) -> tuple[list[Message], list[Message], list[Message]]:
    """Split two whole conversations into their common prompt and the two answers.

    The prompt is the turns that both begin with, back to the last of them that the user says.

    Raises:
        Unusable: they share no user turn.
    """
    shared = 0
    for one, other in zip(chosen, rejected, strict=False):
        if turn_key([one]) != turn_key([other]):
            break
        shared += 1
    while shared and chosen[shared - 1]["role"] != "user":
        shared -= 1
    if not shared:
        raise Unusable("the two conversations share no user turn to be the prompt")
    keep_beside(chosen[:shared], rejected[:shared])
    return chosen[:shared], chosen[shared:], rejected[shared:]


_STEERED = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")


def read_prompt(value: Any) -> list[Message]:
    """Return a prompt: a transcript by its turns, other text as the user's, or messages."""
    if not isinstance(value, str) or not has_markers(value):
        return as_messages(value, "user")
    return _without_cue(read_transcript(value))


def read_steered(value: Any) -> list[Message]:
    """Return a prompt of HelpSteer2: the user's text, with later turns after ``<extra_id_1>``."""
    if not isinstance(value, str) or "<extra_id_1>" not in value:
        return as_messages(value, "user")
    first, *parts = _STEERED.split(value)
    turns: list[Message] = [{"role": "user", "content": first}] if first.strip() else []
    for role, text in zip(parts[::2], parts[1::2], strict=True):
        turns.append({"role": role.lower(), "content": text})
    return _without_cue(turns)


def _without_cue(turns: list[Message]) -> list[Message]:
    """Drop the empty turn at the end that asks the assistant to speak."""
    if turns and turns[-1]["role"] == "assistant" and not turns[-1]["content"].strip():
        turns.pop()
    return turns

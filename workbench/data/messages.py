"""Messages: the one shape that prompts and responses have in here.

A message is ``{"role": "system"|"user"|"assistant", "content": str}``. A prompt is a list of
messages that ends with a user message; a response is a list of messages, normally one.
"""

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from json.encoder import encode_basestring as quoted
from typing import Any, NotRequired, TypedDict, cast

from workbench.data.written_values import begins_as_object, written_value
from workbench.json_lines import storable


class Message(TypedDict):
    """One turn of a conversation.

    ``beside`` is what a row says of the turn besides its text, such as tool calls: only while the
    row is read, since an import moves it into the item's ``meta``.
    """

    role: str
    content: str
    beside: NotRequired[dict[str, Any]]


ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}


class Unusable(Exception):  # noqa: N818  a verdict on a row
    """A row cannot be read; its one argument is the reason, the same for every such row."""

    @property
    def reason(self) -> str:
        """Why, in words that do not depend on the row."""
        return str(self.args[0])


def as_messages(value: Any, role: str) -> list[Message]:
    """Read a string, a message or a list of messages; a bare string is said by ``role``.

    A string that spells messages (JSON, or Python's way) is read as these.

    Raises:
        Unusable: the value is none of these.
    """
    if isinstance(value, str):
        if value[:1] in MAYBE_WRITTEN and (turns := written_messages(value)) is not None:
            return [_message(entry) for entry in turns]
        return [{"role": role, "content": value}]
    if isinstance(value, dict):
        return [_message(cast("dict[str, Any]", value))]
    if isinstance(value, list):
        return [_message(entry) for entry in cast("list[Any]", value)]
    if value is None:
        raise Unusable("a needed field is missing")
    raise Unusable("a field is neither text nor messages")


# What a list or an object that was written as text may begin with; "a" as in "array(".
MAYBE_WRITTEN = frozenset(("", *'[{("\\a \t\r\n\ufeff'))
_SAYS = {"content", "value", "text", "parts", "tool_calls", "function_call"}


def written_messages(text: str) -> list[dict[str, Any]] | None:
    """Return the messages that a text spells, None where it spells none."""
    if not begins_as_object(text):
        return None
    value = written_value(text)
    entries = cast("list[Any]", value if isinstance(value, list) else [value])
    turns = [cast("dict[str, Any]", entry) for entry in entries if isinstance(entry, dict)]
    says = all(_SAYS & turn.keys() for turn in turns)
    known = any(_role(turn) in ROLES for turn in turns)
    return turns if says and known and len(turns) == len(entries) else None


def _role(fields: dict[str, Any]) -> str:
    return str(fields.get("role", fields.get("from", ""))).lower()


def _message(value: Any) -> Message:
    if not isinstance(value, dict):
        raise Unusable("a list of messages holds something else")
    fields = cast("dict[str, Any]", value)
    role = ROLES.get(_role(fields))
    if role is None:
        raise Unusable("a message has no role, or one that is not system, user or assistant")
    name = next((name for name in _CONTENT if fields.get(name) is not None), "content")
    content = fields.get(name)
    if isinstance(content, str) and len(fields) == 2:  # by far the most say no more
        return {"role": role, "content": content}
    beside = _beside(fields, name)
    if isinstance(content, list | dict):
        parts = cast("list[Any]", content if isinstance(content, list) else [content])
        content = "".join(_part(part, beside) for part in parts)
    elif content is None and beside:  # a turn that is only a call
        content = ""
    if not isinstance(content, str):
        raise Unusable("a message has no text")
    message: Message = {"role": role, "content": content}
    if beside:
        message["beside"] = beside
    return message


_CONTENT = ("content", "value", "parts", "text")  # where a message has its text
_TEXTS = ("text", "input_text", "output_text", "")  # kinds of parts that are text


def _beside(fields: dict[str, Any], content: str) -> dict[str, Any]:
    """Return what a message says besides who speaks and what."""
    who = "role" if "role" in fields else "from"
    others = {
        str(name): value
        for name, value in fields.items()
        if name not in (who, content) and holds_something(value)
    }
    refuse_media(others)
    return others


def _part(part: Any, beside: dict[str, Any]) -> str:
    """Return the text of one part of a message; what else it holds goes ``beside`` it."""
    if isinstance(part, str):
        return part
    fields = cast("dict[str, Any]", part) if isinstance(part, dict) else {"part": part}
    kind, text = str(fields.get("type") or ""), fields.get("text")
    if kind in _FILES:
        raise Unusable(f"{kind}: {_NOT_SHOWN}")
    refuse_media({kind: part, **fields})
    if kind in _TEXTS and isinstance(text, str):
        others = {str(k): v for k, v in fields.items() if k not in ("type", "text")}
        beside.update({name: value for name, value in others.items() if holds_something(value)})
        return text
    beside.setdefault(kind or "part", []).append(part)
    return ""


_MEDIUM = re.compile(
    r"(input_?)?(image|img|picture|photo|video|audio|pixel_value)s?"
    r"([ _-]?(url|path|file|byte|data|base64|b64)s?)?",
    re.IGNORECASE,
)
_NOT_SHOWN = "the answers are about what cannot be shown here"
_FILES = ("file", "input_file", "document")  # kinds of parts; columns of these names are text


@lru_cache(maxsize=1024)
def is_medium(name: str) -> bool:
    """Whether a field of this name holds a picture or a sound."""
    return _MEDIUM.fullmatch(name) is not None


def refuse_media(fields: Mapping[str, Any]) -> None:
    """Refuse what cannot be shown or trained on beside its text.

    Raises:
        Unusable: a field of the row, the message or the part holds a picture, a sound or a file.
    """
    for name, value in fields.items():
        if is_medium(name) and _is_there(value):
            raise Unusable(f"{name}: {_NOT_SHOWN}")


def _is_there(value: Any) -> bool:
    """Whether a medium is there: not ``{"bytes": None, "path": None}``, nor False."""
    if isinstance(value, dict):
        return any(map(_is_there, cast("dict[str, Any]", value).values()))
    if isinstance(value, list):
        return any(map(_is_there, cast("list[Any]", value)))
    return value is not False and holds_something(value)


def holds_something(value: Any) -> bool:
    """Whether a field holds anything: not None, nor empty text, list or object."""
    return value is not None and not (isinstance(value, str | bytes | list | dict) and not value)


def _with_beside(turn: Message, other: Message) -> None:
    """Put what a copy of a turn says besides its text to the turn that stays."""
    own = turn.get("beside", {})
    for name, value in other.get("beside", {}).items():
        if name not in own:
            own = {**own, name: value}
        elif own[name] != value:
            own = {**own, f"{name} (another copy)": value}
    if own:
        turn["beside"] = own


def keep_beside(turns: list[Message], copies: list[Message]) -> None:
    """Put what copies of turns say besides their text to the turns that stay."""
    for turn, other in zip(turns, copies, strict=False):
        if len(other) > 2:
            _with_beside(turn, other)


def check_prompt(prompt: list[Message]) -> None:
    """Hold a prompt to its shape: something is said, and the user says the last of it."""
    if len(prompt) == 1 and prompt[0]["role"] == "user" and prompt[0]["content"].strip():
        return  # by far the most
    if not any(message["content"].strip() for message in prompt):
        raise Unusable("the prompt is empty")
    if prompt[-1]["role"] != "user":
        raise Unusable("the prompt does not end with a user turn")


def check_response(response: list[Message]) -> None:
    """Hold a response to its shape: the assistant begins it and says something."""
    if len(response) == 1 and response[0]["role"] == "assistant" and response[0]["content"].strip():
        return  # by far the most
    if not any(m["role"] == "assistant" and m["content"].strip() for m in response):
        raise Unusable("an answer is empty")
    if response[0]["role"] != "assistant":
        raise Unusable("an answer does not begin with an assistant turn")


def without_prompt(turns: list[Message], prompt: list[Message]) -> list[Message]:
    """Drop a prompt that is repeated at the head of an answer (as ultrafeedback_binarized does)."""
    if not prompt or not turns or turns[0]["role"] != prompt[0]["role"]:
        return turns  # by far the most: nothing is repeated
    if turn_key(turns[: len(prompt)]) == turn_key(prompt):
        keep_beside(prompt, turns)
        return turns[len(prompt) :]
    return turns


def instructed(instruction: Any, extra: Any) -> list[Message]:
    """Return an instruction as a prompt, with its input on a line of its own where it has one."""
    prompt = as_messages(instruction, "user")
    if prompt and isinstance(extra, str) and extra.strip():
        prompt[-1]["content"] += "\n" + extra
    return prompt


def turn_key(turns: list[Message]) -> str:
    """Return the text by which two message lists count as the same: NFC, outer blanks away."""
    return "\n".join(map(_turn_key, turns)) if len(turns) != 1 else _turn_key(turns[0])


def _turn_key(message: Message) -> str:
    text = message["content"].strip()
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return f"{message['role']}:{len(text)}:{text}"


def item_id(prompt: list[Message], responses: list[list[Message]]) -> str:
    """Return the id of a comparison: of its prompt and the SET of its responses, order-free."""
    return id_from_keys(turn_key(prompt), [turn_key(response) for response in responses])


def id_from_keys(prompt_key: str, response_keys: list[str]) -> str:
    """Return the id from keys already made by :func:`turn_key`: 32 hex digits."""
    keys = [prompt_key, *sorted(set(response_keys))]
    text = "".join([f"{len(key)}|{key}" for key in keys])
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def raw_messages(turns: list[Message]) -> str:
    """Return messages as JSON text, with lone surrogates as they are."""
    if len(turns) == 1:  # by far the most
        return f'[{{"role":"{turns[0]["role"]}","content":{quoted(turns[0]["content"])}}}]'
    turn_texts = (f'{{"role":"{m["role"]}","content":{quoted(m["content"])}}}' for m in turns)
    return f"[{','.join(turn_texts)}]"


def dump_messages(turns: list[Message]) -> str:
    """Return messages as JSON text: what ``dumps`` returns, several times as fast."""
    return storable(raw_messages(turns))


def plain_text(turns: list[Message]) -> str:
    """Return messages as text to read: the content alone where there is one, else with roles."""
    if len(turns) == 1:
        return turns[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in turns)

"""A conversation as the text that a tokenizer's chat template makes of it, and where a turn ends.

There is one rule for everything that is learned, scored or sampled: prompt and answer together are
what the template makes of the whole conversation, up to the end of the answer's turn.
"""

import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from transformers import PreTrainedTokenizerBase

from workbench.data.messages import Message
from workbench.errors import ConfigError, DataError, ModelError, WorkbenchError, first_line
from workbench.models.bounds import (
    LARGEST_TEMPLATE,
    TEMPLATE_SECONDS,
    rendered_most,
    token_ids,
    within,
)

TODAY = "2026-01-01"
"""What a template is told where it asks for the date, so that a prompt is the same tomorrow."""
_ANSWER = "answerqxz"
_NEXT = "nextqxz"

STAND_IN = (
    "{% for m in messages %}{{ m['role'].capitalize() }}:{{ '\\n' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% if not loop.last or add_generation_prompt %}{{ '\\n\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""For a tokenizer without a template. No text stands behind a blank, which some vocabularies would
make a token of its own, and the opened turn ends without one."""


class ChatTemplate:
    """A tokenizer's chat template, with the settings that it is given.

    Args:
        tokenizer: has a chat template.
        variables: what the template is given beside the conversation (the setting
            ``chat_template_kwargs``). ``today`` (an ISO date) is what it is told as the date.
        fold_system: put a system message's text before the first user message's.

    Attributes:
        source: the template itself; of several by name, the one for plain conversations.
        tail: what the template writes behind an assistant's last answer.
        turn_end: the part of it up to the first blank, for example ``<|im_end|>``; empty where the
            template writes nothing.
        opens_next: what it writes between that and the next user's text, up to the first blank.

    Raises:
        ConfigError: ``today`` is no date.
        ModelError: the template cannot say a question and an answer.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        variables: dict[str, Any] | None = None,
        *,
        fold_system: bool = False,
    ) -> None:
        self.tokenizer = tokenizer
        self.fold_system = fold_system
        self._variables = dict(variables or {})
        today = _day(str(self._variables.pop("today", TODAY)))
        self.source = _source_of(tokenizer)
        self._template = _dated(self.source, today)
        self._in_parts = False
        self.tail, self.opens_next = self._ends()
        self.turn_end = _up_to_blank(self.tail)

    def render(self, messages: Sequence[Message], *, opened: bool = False) -> str:
        """The text of a conversation.

        Args:
            messages: ``role`` and ``content`` each.
            opened: with the assistant's next turn opened, for an answer to be sampled.

        Raises:
            DataError: the template refuses this conversation.
            ModelError: it takes too long, or makes far too much of it.
        """
        turns = folded(messages) if self.fold_system else messages
        conversation: list[dict[str, Any]] = [dict(m) for m in turns]
        if self._in_parts:
            for message in conversation:
                message["content"] = [{"type": "text", "text": message["content"]}]
        endless = _endless(self.tokenizer, f"takes longer than {TEMPLATE_SECONDS:g} s")
        try:
            with within(TEMPLATE_SECONDS, endless):
                text = self.tokenizer.apply_chat_template(
                    conversation,
                    chat_template=self._template,
                    tokenize=False,
                    add_generation_prompt=opened,
                    **self._variables,
                )
        except WorkbenchError:
            raise
        except Exception as error:  # a template can raise whatever Python can
            raise _refused(messages, error) from error
        written = sum(len(message["content"]) for message in turns)
        if len(text := str(text)) > rendered_most(written):
            raise _endless(self.tokenizer, f"makes {len(text):,} characters of {written:,}")
        return text

    def _ends(self) -> tuple[str, str]:
        """What stands behind an answer at the end of a conversation, and then before the next."""
        talk: list[Message] = [
            {"role": "user", "content": "question"},
            {"role": "assistant", "content": _ANSWER},
        ]
        text, why = "", "what the assistant says is not in its text"
        for self._in_parts in (False, True):  # those of models that also see images take parts
            try:
                text = self.render(talk)
            except DataError as error:
                why = error.what
            if _ANSWER in text:
                break
        else:
            raise _speechless(self.tokenizer, why)
        tail = text[text.rindex(_ANSWER) + len(_ANSWER) :]
        try:
            longer = self.render([*talk, {"role": "user", "content": _NEXT}])
        except DataError:
            return tail, ""
        between = longer[longer.rindex(_ANSWER) + len(_ANSWER) :].partition(_NEXT)[0]
        return tail, _up_to_blank(between.removeprefix(_up_to_blank(tail)))


def folded(messages: Sequence[Message]) -> list[Message]:
    """A system message's text put before the first user message's, a blank line between them."""
    if not messages or messages[0]["role"] != "system":
        return list(messages)
    system, rest = messages[0]["content"], list(messages[1:])
    for index, message in enumerate(rest):
        if message["role"] == "user":
            text = f"{system}\n\n{message['content']}"
            rest[index] = Message(role="user", content=text)
            return rest
    return [{"role": "user", "content": system}, *rest]


def adds_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer begins every text with its BOS token."""
    ids = token_ids(tokenizer, "a")
    return tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]


def stand_in(tokenizer: PreTrainedTokenizerBase) -> str:
    """The template for a tokenizer that has none: with BOS where it begins every text with it."""
    return ("{{ bos_token }}" if adds_bos(tokenizer) else "") + STAND_IN


def _day(text: str) -> datetime:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{text!r} is no date",
            where="chat_template_kwargs['today']",
            fix="write it as year-month-day, for example 2026-01-31",
        ) from None
    return datetime(day.year, day.month, day.day)


def _dated(source: str, day: datetime) -> str:
    """A template that is told one day, where it asks for the date, whatever day it is."""
    if "strftime_now" not in source:
        return source
    parts = "".join(f"|replace('%{d}', '{day.strftime('%' + d)}')" for d in "aAbBdeFHIjmMpSuwyY")
    return f"{{%- macro strftime_now(form) -%}}{{{{ form{parts} }}}}{{%- endmacro -%}}{source}"


def _up_to_blank(text: str) -> str:
    """Leading blanks and the first run of other characters."""
    run = re.match(r"\s*\S+", text)
    return run[0] if run else ""


def _refused(messages: Sequence[Message], error: BaseException) -> DataError:
    roles = ", ".join(str(m.get("role")) for m in messages)
    start = str(messages[0].get("content"))[:60] if messages else ""
    return DataError(
        f"the chat template refuses this conversation: {first_line(error)}",
        where=f"a conversation of {roles or 'no turn'}, which begins {start!r}",
        fix="set fold_system=True to put a system text before the first user turn; join turns of "
        "one role, let user and assistant take turns, or leave the row out",
    )


def _source_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """The template for plain conversations.

    Raises:
        ModelError: there is none that is text, or it is longer than any.
    """
    try:
        source: Any = tokenizer.get_chat_template()
    except Exception as error:
        raise _speechless(tokenizer, first_line(error)) from error
    if not isinstance(source, str) or len(source) > LARGEST_TEMPLATE:
        raise _speechless(tokenizer, f"it is no text of at most {LARGEST_TEMPLATE:,} characters")
    return source


def _endless(tokenizer: PreTrainedTokenizerBase, what: str) -> ModelError:
    return ModelError(
        f"the chat template {what}",
        where=str(tokenizer.name_or_path),
        fix="look at its loops (chat_template.jinja, or chat_template in tokenizer_config.json), "
        "or remove it, and a plain one stands in",
    )


def _speechless(tokenizer: PreTrainedTokenizerBase, why: str) -> ModelError:
    return ModelError(
        f"the chat template cannot be used: {why}",
        where=str(tokenizer.name_or_path),
        fix="give the tokenizer a template that says a user's question and an assistant's answer "
        "(tokenizer.chat_template), or remove it, and a plain one stands in",
    )

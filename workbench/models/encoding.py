"""Messages to token ids: one way, for SFT, reward model and PPO alike.

A prompt is the chat template with the assistant's turn opened; a response is its text and EOS.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from workbench.errors import ConfigError
from workbench.models.base import Base

Message = dict[str, str]
MOST_BYTES = 4
"""Of a character in UTF-8."""
_CONTEXT = 8
"""Tokens before one that may change how it is spelt."""


class Encoded(NamedTuple):
    """A prompt and one response as token ids."""

    prompt: list[int]
    response: list[int]

    @property
    def ids(self) -> list[int]:
        """The whole sequence."""
        return self.prompt + self.response


class Encoder:
    """Encodes messages for one base, the same way everywhere.

    For an encoder a prompt and a response are its tokenizer's two texts, in their own special
    tokens: ``[CLS] prompt [SEP] response [SEP]``.
    """

    def __init__(self, base: Base, *, max_length: int, template: dict[str, Any]) -> None:
        self.tokenizer = base.tokenizer
        self.two_texts = base.encoder
        self.eos: int = int(base.tokenizer.eos_token_id)  # pyright: ignore[reportArgumentType]
        self.opening, self.between, self.ending = [], [], [self.eos]
        if base.encoder:
            self.opening, self.between, self.ending = _special(base)
        self.max_length = min(max_length, base.longest)
        self.least = len(self.opening) + len(self.between) + 1
        self.template = template
        self.shortened = 0

    def prompt(self, messages: Sequence[Message], *, room: int) -> list[int]:
        """Prompt ids, shortened from the left so that ``room`` tokens are left for a response.

        Raises:
            ConfigError: that leaves no room for a prompt.
        """
        keep = self.max_length - room - (self.least - 1)
        if keep < 1:
            raise ConfigError(
                "an answer leaves no room for a prompt",
                where=f"response_length = {room}, max_length = {self.max_length} "
                "(the model's own limit counts too)",
                fix="lower response_length, or raise max_length",
            )
        ids = self.tokenizer(self._prompt_text(messages), add_special_tokens=False)["input_ids"]
        if len(ids) > keep:
            self.shortened += 1
            ids = self._from_a_whole_character(ids[-keep:])
        return [*self.opening, *ids, *self.between]

    def _from_a_whole_character(self, ids: list[int]) -> list[int]:
        """Leave out tokens at the start that only end a character, where bytes are tokens."""
        for start in range(min(MOST_BYTES, len(ids))):
            text = str(self.tokenizer.decode(ids[start : start + MOST_BYTES]))
            if not text.startswith("\ufffd"):
                return ids[start:]
        return ids

    def _prompt_text(self, messages: Sequence[Message]) -> str:
        if self.two_texts and not self.tokenizer.chat_template:
            if len(messages) == 1:
                return messages[0]["content"]
            return "\n\n".join(f"{m['role'].capitalize()}: {m['content']}" for m in messages)
        return str(
            self.tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=True, **self.template
            )
        )

    def text(self, text: str) -> list[int]:
        """Ids of a text without special tokens, ended by EOS."""
        return [*self.tokenizer(text, add_special_tokens=False)["input_ids"], *self.ending]

    def pair(self, prompt: Sequence[Message], response: Sequence[Message]) -> Encoded | None:
        """Prompt and response ids; None where the response leaves no room for a prompt token."""
        return self.answers(prompt, [response])[0]

    def answers(
        self, prompt: Sequence[Message], responses: Sequence[Sequence[Message]]
    ) -> list[Encoded | None]:
        """Ids of several responses after one prompt, cut once to leave room for the longest.

        A response of several turns keeps its earlier turns as part of the prompt: the last
        assistant turn is what is scored or learned. None stands for a response that leaves no
        room for a prompt token.
        """
        texts = [self.text(response[-1]["content"]) for response in responses]
        most = self.max_length - self.least
        room = max((len(text) for text in texts if len(text) <= most), default=0)
        before: list[Sequence[Message]] = []
        prompts: list[list[int]] = []
        found: list[Encoded | None] = []
        for response, text in zip(responses, texts, strict=True):
            if len(text) > most:
                found.append(None)
                continue
            earlier = response[:-1]
            if earlier not in before:
                before.append(earlier)
                prompts.append(self.prompt([*prompt, *earlier], room=room))
            found.append(Encoded(prompts[before.index(earlier)], text))
        return found

    def decode(self, ids: Sequence[int]) -> str:
        """Text of a response, special tokens left out."""
        return self.text_of(ids).strip()

    def text_of(self, ids: Sequence[int]) -> str:
        """The same with its blanks."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Text of each token of a response, special tokens named; together they are its text.

        A character that several tokens share stands with the last of them.
        """
        found: list[str] = []
        for index in range(len(ids)):
            start = max(0, index - _CONTEXT)
            before, whole = self._spelt(ids[start:index]), self._spelt(ids[start : index + 1])
            found.append(whole[len(before) :])
        return found

    def _spelt(self, ids: Sequence[int]) -> str:
        """Text with special tokens; a character that is not complete yet is left out."""
        return str(self.tokenizer.decode(list(ids))).rstrip("\ufffd")


def _special(base: Base) -> tuple[list[int], list[int], list[int]]:
    """Special tokens before, between and behind the two texts that an encoder's tokenizer takes."""
    probe = base.tokenizer("a", "a")
    ids: list[int] = list(probe["input_ids"])
    texts = probe.sequence_ids(0)
    first = [at for at, text in enumerate(texts) if text == 0]
    second = [at for at, text in enumerate(texts) if text == 1]
    return ids[: first[0]], ids[first[-1] + 1 : second[0]], ids[second[-1] + 1 :]


def pad_right(rows: Sequence[Sequence[int]], *, pad: int, device: torch.device) -> Tensor:
    """Rows of ids to ``(B, T)``, padded on the right.

    With causal attention no real position sees what comes after it, so no mask is needed.
    """
    longest = max(len(row) for row in rows)
    table = [[*row, *([pad] * (longest - len(row)))] for row in rows]
    return torch.tensor(table, dtype=torch.long, device=device)


def micro_batches(lengths: Sequence[int], *, tokens: int) -> list[list[int]]:
    """Split rows into groups of at most ``tokens`` padded tokens, similar lengths together.

    Returns indices; each row is in exactly one group. A row longer than ``tokens`` is alone.
    """
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    groups: list[list[int]] = []
    for index in order:  # ascending, so the newest row is the widest of its group
        if groups and (len(groups[-1]) + 1) * lengths[index] <= tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups

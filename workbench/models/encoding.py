"""Messages to token ids: one way, for SFT, reward model and PPO alike."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from workbench.data.messages import Message
from workbench.errors import ConfigError, DataError
from workbench.models.bounds import token_ids
from workbench.models.chat_template import ChatTemplate, adds_bos
from workbench.models.fast.on_card import upload
from workbench.models.loaded_base import Base
from workbench.models.special_tokens import end_token
from workbench.settings import RunSettings

_WORD = 24
"""Characters of a word that is left out whole rather than cut."""
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
    """Encodes conversations for one base, the same way everywhere.

    Prompt and response together are the tokens of the chat template's text of the whole
    conversation, up to the end of the answer's turn. For an encoder without a template a prompt
    and a response are its tokenizer's two texts, in their own special tokens:
    ``[CLS] prompt [SEP] response [SEP]``.

    Args:
        base: its tokenizer is used.
        max_length: the most tokens of a prompt with its response.
        template: variables for the chat template (``chat_template_kwargs``).
        fold_system: put a system message's text before the first user message's.
        whole_turn: take what the template writes after the turn's end too: where a reward model
            from elsewhere reads its score.

    Attributes:
        shortened: prompts that lost words.
        spelt: conversations whose texts spell special tokens, which were encoded as plain text.
    """

    def __init__(
        self,
        base: Base,
        *,
        max_length: int,
        template: dict[str, Any],
        fold_system: bool = False,
        whole_turn: bool = False,
    ) -> None:
        self.tokenizer = base.tokenizer
        self.two_texts = base.encoder
        self.eos: int = int(base.tokenizer.eos_token_id)  # pyright: ignore[reportArgumentType]
        self.max_length = min(max_length, base.longest)
        self.shortened = self.spelt = 0
        self.whole_turn = whole_turn
        self.opening, self.between, self.ending = [], [], [self.eos]
        if base.encoder:
            self.opening, self.between, self.ending = _special(base)
        self.chat: ChatTemplate | None = None
        if base.tokenizer.chat_template:
            self.chat = ChatTemplate(base.tokenizer, template, fold_system=fold_system)
        self._ends = set(base.eos_ids)
        if self.chat is not None and not self.chat.turn_end:
            following = end_token(base.tokenizer, self.chat.opens_next)
            if following in self._ends:  # such a model stops where the next turn would begin
                self.eos = int(following)
        self._begins = [int(base.tokenizer.bos_token_id)] if adds_bos(base.tokenizer) else []  # pyright: ignore
        self._special = _special_tokens(base.tokenizer)

    @classmethod
    def of(cls, base: Base, settings: RunSettings, *, whole_turn: bool = False) -> "Encoder":
        """An encoder as a run's settings ask for it."""
        return cls(
            base,
            max_length=settings.max_length,
            template=settings.chat_template_kwargs,
            fold_system=settings.fold_system,
            whole_turn=whole_turn,
        )

    def prompt(self, messages: Sequence[Message], *, room: int) -> list[int]:
        """Prompt ids with the assistant's turn opened, and ``room`` tokens left for a response.

        A conversation that is too long loses words at its start, never its system text, its role
        marks or BOS.

        Raises:
            ConfigError: that leaves no room for a prompt.
            DataError: the chat template refuses the conversation.
        """
        kept = self._fitting(messages, room)
        if kept is None:
            raise ConfigError(
                "an answer leaves no room for a prompt",
                where=f"response_length = {room}, max_length = {self.max_length} "
                "(the model's own limit counts too)",
                fix="lower response_length, or raise max_length",
            )
        return self._opened(kept)

    def prompts(self, prompts: Sequence[Sequence[Message]], *, room: int) -> list[list[int]]:
        """Ids of many prompts, as :meth:`prompt` gives them; what is wrong names its prompt.

        Raises:
            ConfigError: an answer leaves no room for a prompt.
            DataError: the chat template refuses a prompt.
        """
        encoded: list[list[int]] = []
        for number, messages in enumerate(prompts, 1):
            with in_row(number, "prompt"):
                encoded.append(self.prompt(messages, room=room))
        return encoded

    def text(self, text: str) -> list[int]:
        """Ids of a plain text, as the tokenizer begins every text, and EOS behind."""
        return [*self._begins, *self._plain(text), *self.ending]

    def pair(self, prompt: Sequence[Message], response: Sequence[Message]) -> Encoded | None:
        """Prompt and response ids; None where the response leaves no room for a prompt."""
        return self.answers(prompt, [response])[0]

    def answers(
        self, prompt: Sequence[Message], responses: Sequence[Sequence[Message]]
    ) -> list[Encoded | None]:
        """Ids of several responses after one prompt, shortened once to leave room for the longest.

        A response of several turns keeps its earlier turns as part of the prompt: the last
        assistant turn is what is scored or learned. None stands for a response that leaves no
        room for a prompt.

        Raises:
            DataError: the chat template refuses a conversation.
        """
        talks = [([*prompt, *response[:-1]], response[-1]) for response in responses]
        encoded: list[Encoded | None] = [self._whole(*talk) for talk in talks]
        if all(e is not None and len(e.ids) <= self.max_length for e in encoded):
            return encoded
        bare = [self._bare(before) for before, _ in talks]
        lengths = [len(e.response) for e in encoded if e is not None]
        fits = [size + least <= self.max_length for size, least in zip(lengths, bare, strict=True)]
        room = max((size for size, fit in zip(lengths, fits, strict=True) if fit), default=0)
        kept: list[list[Message] | None] = []
        before: list[list[Message]] = []
        for talk, _ in talks:
            if talk not in before:
                before.append(talk)
                kept.append(self._fitting(talk, room))
        rows: list[Encoded | None] = []
        for (talk, answer), fit in zip(talks, fits, strict=True):
            messages = kept[before.index(talk)]
            rows.append(self._whole(messages, answer) if fit and messages is not None else None)
        return rows

    def conversation(
        self, prompt: Sequence[Message], response: Sequence[Message]
    ) -> tuple[Encoded, list[bool]] | None:
        """A whole conversation, and which tokens after its first prompt an assistant says.

        Returns:
            From the first answer on all tokens are the response, with True for those of answers
            and of their ends; None where the conversation is longer than ``max_length``, or the
            template does not show each answer.
        """
        assert self.chat is not None
        messages = [*prompt, *response]
        last = self._whole(messages[:-1], messages[-1])
        if len(last.ids) > self.max_length:
            return None
        texts, literals = self._escaped([m["content"] for m in messages])
        talk = _with_texts(messages, texts)
        whole, ids = self.chat.render(talk), last.ids
        end = self.chat.turn_end or self.chat.opens_next
        spans: list[tuple[int, int]] = []
        for index, message in enumerate(talk[:-1]):
            if message["role"] != "assistant":
                continue
            start = _shared(self.chat.render(talk[:index], opened=True), whole)
            stop = whole.find(end, start) + len(end)
            if not end or stop <= start or message["content"].strip() not in whole[start:stop]:
                return None
            bounds = (_shared(self._tokens(whole[:at], literals), ids) for at in (start, stop))
            spans.append((next(bounds), next(bounds)))
        spans.append((len(last.prompt), len(ids)))
        first = spans[0][0]
        learned = [any(a <= at < b for a, b in spans) for at in range(first, len(ids))]
        return Encoded(ids[:first], ids[first:]), learned

    def reply(self, prompt: Sequence[Message], text: str, *, ended: bool) -> Encoded:
        """A prompt and a sampled answer's text, which may have been cut off before its end.

        Args:
            prompt: the conversation that was answered; it loses words where it is too long.
            text: the answer.
            ended: whether it came to its turn's end; else none is encoded.

        Returns:
            Their ids; an answer that is too long loses its end.
        """
        answer = Message(role="assistant", content=text)
        kept = list(prompt)
        row = self._whole(kept, answer, ended=ended)
        most = self.max_length - self._bare(kept)
        if len(row.ids) > self.max_length:
            fitting = self._fitting(kept, min(len(row.response), max(most, 1)))
            row = self._whole(fitting if fitting is not None else kept, answer, ended=ended)
        return Encoded(row.prompt, row.response[: max(self.max_length - len(row.prompt), 0)])

    def _whole(
        self, messages: Sequence[Message], answer: Message, *, ended: bool = True
    ) -> Encoded:
        """Prompt and response ids of a conversation, nothing shortened."""
        if self.chat is None:
            ids = self._plain(answer["content"])
            return Encoded(self._opened(messages), [*ids, *(self.ending if ended else [])])
        texts, literals = self._escaped([m["content"] for m in (*messages, answer)])
        talk = _with_texts([*messages, answer], texts)
        opened, whole = self.chat.render(talk[:-1], opened=True), self.chat.render(talk)
        end, tail = self.chat.turn_end, self.chat.tail
        start = len(whole) - len(tail) if whole.endswith(tail) else whole.rindex(end)
        if not ended:
            whole = whole[:start]
        elif not self.whole_turn:
            whole = whole[: start + len(end)]
        ids = self._tokens(whole, literals)
        before = self._tokens(whole[: _shared(opened, whole)], literals)
        shared = _shared(before, ids)
        response = ids[shared:]
        if ended and not self.whole_turn and (not response or response[-1] not in self._ends):
            response = [*response, self.eos]
        return Encoded(ids[:shared], response)

    def _opened(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a conversation with the assistant's turn opened."""
        texts, literals = self._escaped([m["content"] for m in messages])
        talk = _with_texts(messages, texts)
        if self.chat is not None:
            return self._tokens(self.chat.render(talk, opened=True), literals)
        roles = (f"{m['role'].capitalize()}: {m['content']}" for m in talk)
        text = talk[0]["content"] if len(talk) == 1 else "\n\n".join(roles)
        return [*self.opening, *self._tokens(text, literals), *self.between]

    def _bare(self, messages: Sequence[Message]) -> int:
        """The least tokens of a prompt: its marks, or one token of the first of two texts."""
        return len(self._opened(without_words(messages))) + (self.chat is None)

    def _fitting(self, messages: Sequence[Message], room: int) -> list[Message] | None:
        """The conversation with no more words than leave ``room`` tokens; None where none do."""
        keep, messages = self.max_length - room, list(messages)
        if keep < 1 or not messages:
            return None
        if len(self._opened(messages)) <= keep:
            return messages
        most = sum(len(m["content"]) for m in messages if m["role"] != "system")
        if self._bare(messages) > keep:
            return None
        self.shortened += 1
        low, high = 0, most  # characters to leave out: too few, enough
        while high - low > 1:
            middle = (low + high) // 2
            fits = len(self._opened(without_words(messages, middle))) <= keep
            low, high = (low, middle) if fits else (middle, high)
        return without_words(messages, high)

    def _escaped(self, texts: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """Texts in which a character of its own stands for each special token that they spell.

        Returns:
            The texts, and what each of these characters stands for.
        """
        spelt = sorted({token for text in texts for token in self._special.findall(text)})
        if not spelt:
            return list(texts), {}
        self.spelt += 1
        used = set().union(*texts)
        free = (chr(n) for n in range(0xE000, 0xF8FF) if chr(n) not in used)
        marks = dict(zip(spelt, free, strict=False))
        escaped = [self._special.sub(lambda match: marks[match[0]], text) for text in texts]
        return escaped, {mark: token for token, mark in marks.items()}

    def _plain(self, text: str) -> list[int]:
        """Ids of one text, without any of the tokenizer's own special tokens."""
        (escaped,), literals = self._escaped([text])
        return self._tokens(escaped, literals)

    def _tokens(self, text: str, literals: dict[str, str]) -> list[int]:
        """Ids of a text; what stands for a special token is encoded as the letters it is."""
        if not literals:
            return token_ids(self.tokenizer, text, add_special_tokens=False)
        ids: list[int] = []
        for part in re.split(f"([{''.join(literals)}])", text):
            if part in literals:
                plain = {"add_special_tokens": False, "split_special_tokens": True}
                ids += token_ids(self.tokenizer, literals[part], **plain)
            elif part:
                ids += token_ids(self.tokenizer, part, add_special_tokens=False)
        return ids

    def spelt_notices(self, rows: int) -> list[str]:
        """What to say where texts spelt special tokens: nothing where none did."""
        if not self.spelt:
            return []
        return [
            f"texts of {rows} rows spell special tokens of this model, {self.spelt} times: they "
            "were encoded as plain letters, and act as no control tokens"
        ]

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
        texts: list[str] = []
        for index in range(len(ids)):
            start = max(0, index - _CONTEXT)
            before, whole = self._spelt(ids[start:index]), self._spelt(ids[start : index + 1])
            texts.append(whole[len(before) :])
        return texts

    def _spelt(self, ids: Sequence[int]) -> str:
        """Text with special tokens; a character that is not complete yet is left out."""
        return str(self.tokenizer.decode(list(ids))).rstrip("\ufffd")


@contextmanager
def in_row(number: int, what: str = "row") -> Iterator[None]:
    """Name the row in whatever is found wrong with its data within the block."""
    try:
        yield
    except DataError as error:
        where = f"{what} {number}: {error.where}"
        raise DataError(error.what, where=where, fix=error.fix) from error


def _special(base: Base) -> tuple[list[int], list[int], list[int]]:
    """Special tokens before, between and behind the two texts that an encoder's tokenizer takes."""
    probe = base.tokenizer("a", "a")
    ids: list[int] = list(probe["input_ids"])
    texts = probe.sequence_ids(0)
    first = [at for at, text in enumerate(texts) if text == 0]
    second = [at for at, text in enumerate(texts) if text == 1]
    return ids[: first[0]], ids[first[-1] + 1 : second[0]], ids[second[-1] + 1 :]


def _special_tokens(tokenizer: Any) -> "re.Pattern[str]":
    """Finds special tokens where a text spells them; the longest first."""
    added = {str(t.content) for t in tokenizer.added_tokens_decoder.values() if t.special}
    names = sorted({*added, *map(str, tokenizer.all_special_tokens)} - {""}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, names)) or r"(?!)")


def _shared(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many items two sequences begin with in common."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _with_texts(messages: Sequence[Message], texts: Sequence[str]) -> list[Message]:
    """A conversation with other texts in its turns."""
    pairs = zip(messages, texts, strict=True)
    return [Message(role=message["role"], content=text) for message, text in pairs]


def without_words(messages: Sequence[Message], count: int | None = None) -> list[Message]:
    """A conversation without its first ``count`` characters, to the end of the word they end in.

    System messages keep theirs, and every message stays; None leaves out all.
    """
    rest: list[Message] = []
    for message in messages:
        text = message["content"]
        if message["role"] != "system" and (count is None or count > 0):
            out = len(text) if count is None else min(count, len(text))
            count = None if count is None else count - out
            if 0 < out < len(text) and not text[out - 1].isspace():
                blank = re.search(r"\s", text[out : out + _WORD])
                out += blank.start() if blank else 0
            text = text[out:].lstrip()
        rest.append(Message(role=message["role"], content=text))
    return rest


def pad_right(rows: Sequence[Sequence[int]], *, pad: int, device: torch.device) -> Tensor:
    """Rows of ids to ``(B, T)``, padded on the right.

    With causal attention no real position sees what comes after it, so no mask is needed.
    """
    longest = max(len(row) for row in rows)
    table = [[*row, *([pad] * (longest - len(row)))] for row in rows]
    return upload(table, device, torch.long)


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

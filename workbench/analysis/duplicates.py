"""Items that are there twice, prompts that are in two sets, answers that are no answers."""

import re
from collections.abc import Iterator
from json import loads
from typing import Any, NamedTuple, cast

from workbench.analysis.shingles import Shingles
from workbench.data.arrow_table import ROWS_A_CHUNK, texts
from workbench.data.messages import Message, dump_messages, turn_key
from workbench.data.pairs import Pair, Pairs, dump_responses
from workbench.data.splits import group_of


class Repeat(NamedTuple):
    """Row ``row`` says what an earlier one, ``first_row``, says."""

    kind: str  # exact, order-free or near
    row: int
    id: str
    first_row: int
    first_id: str
    likeness: float


class Leak(NamedTuple):
    """A prompt that also stands in the other set."""

    kind: str  # same or near
    row: int
    id: str
    against_row: int
    against_id: str
    likeness: float


class Problem(NamedTuple):
    """An item whose answers, or prompt, are not what they should be."""

    problem: str
    row: int
    id: str


class RepeatFinder:
    """Takes items one by one, then tells which of them repeat an earlier one."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._first: dict[str, tuple[int, int]] = {}  # id -> row, hash of the very cells
        self._same: list[Repeat] = []
        self._rows: list[int] = []  # of the texts that Shingles has
        self._texts = Shingles()

    def add(self, pair: Pair) -> None:
        """Take the next item."""
        row = len(self._ids)
        self._ids.append(pair.id)
        exact = hash((dump_messages(pair.prompt), dump_responses(pair.responses)))
        first = self._first.setdefault(pair.id, (row, exact))
        if first[0] != row:
            kind = "exact" if first[1] == exact else "order-free"
            self._same.append(Repeat(kind, row, pair.id, first[0], pair.id, 1.0))
            return
        self._rows.append(row)
        answers = sorted(_words(response) for response in pair.responses)
        self._texts.add("\n".join([_words(pair.prompt), *answers]))

    def repeats(self) -> Iterator[Repeat]:
        """Yield the repeated items: the same ones, then those that are nearly the same."""
        yield from self._same
        for earlier, later, likeness in self._texts.alike():
            one, other = self._rows[later], self._rows[earlier]
            yield Repeat("near", one, self._ids[one], other, self._ids[other], likeness)


class LeakFinder:
    """Takes the items of one set, ``held``, then of another; tells which prompts are in both.

    Two prompts are the same where case and blanks are all that differs.
    """

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._first: dict[str, int] = {}  # prompt -> where it first stands in the set held
        self._held = 0
        self._same: list[Leak] = []
        self._rows: list[int] = []
        self._texts = Shingles()
        self._texts_held = 0

    def hold(self, pair: Pair) -> None:
        """Take the next item of the set that the other is looked up in."""
        self._ids.append(pair.id)
        self._held += 1
        group = group_of(pair.prompt)
        if group not in self._first:
            self._first[group] = self._held - 1
            self._rows.append(self._held - 1)
            self._texts.add(_words(pair.prompt))
            self._texts_held += 1

    def look_up(self, pair: Pair) -> None:
        """Take the next item of the other set."""
        row = len(self._ids) - self._held
        self._ids.append(pair.id)
        first = self._first.get(group_of(pair.prompt))
        if first is not None:
            self._same.append(Leak("same", row, pair.id, first, self._ids[first], 1.0))
            return
        self._rows.append(row)
        self._texts.add(_words(pair.prompt))

    def leaks(self) -> Iterator[Leak]:
        """Yield the items of the other set whose prompt the set held has, or nearly has."""
        yield from self._same
        if not self._texts_held:
            return
        for earlier, later, likeness in self._texts.alike(across=self._texts_held):
            row, against = self._rows[later], self._rows[earlier]
            ids = self._ids[self._held + row], self._ids[against]
            yield Leak("near", row, ids[0], against, ids[1], likeness)


MARKUP = re.compile(
    r"<[|\uff5c][^<>\n]{1,40}[|\uff5c]>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>"
    r"|<(?:bos|eos|pad|unk|mask|sep|cls|sop|eop|eod|eot)>|\[(?:CLS|SEP|PAD|MASK|BOS|EOS|gMASK)\]"
    r"|<(?:unused|extra_id_|reserved_)\d+>|<end_of_utterance>|</?(?:tool_call|tool_response)>"
    r"|</?think>"
)
"""What chat templates write around texts; in a text it is left over, or meant to act as a mark."""

_ROLE = r"(?:user|assistant|system|human|model)"
_TURN = re.compile(
    rf"<\|(?:im_start|start_header_id|start)\|>\s{{0,4}}{_ROLE}"
    rf"|<start_of_turn>\s{{0,4}}{_ROLE}|<[|\uff5c]{_ROLE}[|\uff5c]>",
    re.IGNORECASE,
)
_SAID = r"(?:\A|\n)[ \t]{{0,8}}(?:{}):"
_TURNS = [
    (sign, re.compile(first, re.IGNORECASE), re.compile(then, re.IGNORECASE))
    for sign, first, then in (
        ("[/INST]", r"\[INST\]", r"\[/INST\]"),
        ("Assistant:", _SAID.format("Human|User"), _SAID.format("Assistant")),
        ("ASSISTANT:", _SAID.format("Human|User"), _SAID.format("Assistant")),
        ("###", r"(?:\A|\n)### ?(?:Instruction|Human|User):", r"\n### ?(?:Response|Assistant):"),
    )
]
# A conversation as a chat template or a format of old renders it: a turn's mark, or one and
# another after it; apart from each other, so that no text takes longer than its length.

AGAINST, NEGATIVE = "scores against the order", "margin below 0"
OUTER = "an answer that stands elsewhere with other outer blanks"


def _against(pair: Pair) -> Iterator[str]:
    """Yield what of a label's numbers contradicts its order."""
    label = pair.label or {}
    scores, winner = label.get("scores"), label.get("winner")
    own = cast("list[Any]", scores if isinstance(scores, list) else [])
    if isinstance(winner, int) and 0 <= winner < len(own) and len(own) > 1:
        others = [score for place, score in enumerate(own) if place != winner]
        numbers = all(isinstance(score, int | float) for score in own)
        if numbers and own[winner] < max(others):
            yield AGAINST
    margin = label.get("margin")
    if isinstance(margin, int | float) and margin < 0:
        yield NEGATIVE


def problems_of(pair: Pair, row: int) -> Iterator[Problem]:
    """Yield what is wrong with an item's texts."""
    texts = [turn["content"] for turns in _turns(pair) for turn in turns]
    if any(("<" in text or "[" in text) and MARKUP.search(text) for text in texts):
        yield Problem("chat markup", row, pair.id)
    if any(map(_is_rendered, texts)):
        yield Problem("rendered by a template", row, pair.id)
    for against in _against(pair):
        yield Problem(against, row, pair.id)
    if not any(turn["content"].strip() for turn in pair.prompt):
        yield Problem("empty prompt", row, pair.id)
    answers = [_words(response).strip().casefold() for response in pair.responses]
    if not all(answers):
        yield Problem("empty answer", row, pair.id)
    elif len({text[:1] for text in answers}) == len(answers):
        return  # by far the most differ in their first letter
    elif len({turn_key(response) for response in pair.responses}) < len(answers):
        yield Problem("identical answers", row, pair.id)
    elif len({" ".join(text.split()) for text in answers}) < len(answers):
        yield Problem("answers that differ in case or blanks alone", row, pair.id)


class OuterBlanks:
    """Takes items twice: notes answers with outer blanks, then finds the same without, or with."""

    def __init__(self) -> None:
        self._rows: dict[int, set[int]] = {}  # hash of a text without blanks -> rows of it with
        self._spelled: dict[int, set[int]] = {}  # the same -> hashes of it as it stands

    def note(self, pair: Pair, row: int) -> None:
        """Note the answers of an item that have outer blanks."""
        for text in map(_words, pair.responses):
            if text != text.strip():
                key = hash(text.strip())
                self._rows.setdefault(key, set()).add(row)
                self._spelled.setdefault(key, set()).add(hash(text))

    def problems(self, pairs: Pairs) -> Iterator[Problem]:
        """Yield the items with an answer that the same items have with other outer blanks."""
        if not self._rows:
            return
        for row, responses in enumerate(_responses(pairs)):
            for text in map(_words, responses):
                key = hash(text)  # of a text without outer blanks, no other is among the rows
                if key in self._rows and text and text == text.strip():
                    self._rows[key].add(row)
                    self._spelled[key].add(key)
        ids = pairs.ids()
        rows = (self._rows[key] for key, spelled in self._spelled.items() if len(spelled) > 1)
        for row in sorted(set[int]().union(*rows)):
            yield Problem(OUTER, row, ids[row])


def _responses(pairs: Pairs) -> Iterator[list[list[Message]]]:
    """Yield the responses of each item, and read nothing else of it."""
    for start in range(0, len(pairs), ROWS_A_CHUNK):
        for cell in texts(pairs.frame, "responses", start, start + ROWS_A_CHUNK):
            yield loads(cell or "[]")


def _is_rendered(text: str) -> bool:
    """Whether a text has a turn of a rendered conversation in it."""
    if "<" in text and _TURN.search(text):
        return True
    for sign, first, then in _TURNS:
        opening = first.search(text) if sign in text else None
        if opening is not None and then.search(text, opening.end()):
            return True
    return False


def _turns(pair: Pair) -> list[list[Message]]:
    return [pair.prompt, *pair.responses]


def _words(turns: list[Message]) -> str:
    return "\n".join(turn["content"] for turn in turns)

"""Label events, and which decisions hold after all undo and redo.

An event is never changed. What holds now is worked out from all of them: a decision holds unless
the last ``undo`` or ``redo`` that names it is an undo.
"""

import gc
import time
import uuid
from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

LABELS = ("label", "edit")  # an edit is a label too: the answer that was edited is the better one
DECISIONS = (*LABELS, "skip")
MARKS = ("flag", "note")
ACTIONS = DECISIONS + MARKS  # what a person does; undo and redo name one of these
QUEUED = "queue"  # a pair was sent to be labelled, from wherever it was seen
SESSION = "session"  # what an annotator was told (guidelines) and offered (reason tags)


@contextmanager
def gc_paused() -> Generator[None]:
    """Switch the garbage collector off while many events are read: it would walk them repeatedly.

    Events form no cycles; reading 150,000 of them takes a third of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def new_id() -> str:
    """Return a new event id, unique everywhere."""
    return uuid.uuid4().hex


def _payload() -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class LabelEvent:
    """One thing a person did, as stored.

    Payloads: label ``{"label", "choice", "order", "left", "shown_at", "decided_at", "reason"}``,
    where ``label["winner"]`` counts the item's responses, ``order`` is how they stood on screen and
    ``reason`` is why the item came up (file, random, uncertain with ``model`` and ``margin``, gold
    with ``passed``, repeat); edit the same with ``text``, the better wording of the winner;
    flag ``{"reason"}``; note ``{"text"}``; undo and redo ``{"event"}``, the event they name; queue
    ``{"from"}``, where the pair was seen.
    ``"repeat": true`` stands in what is done to an item that came back swapped. A label's
    ``"tags"`` are the reasons given with it, and ``"session"`` names the event with what the
    annotator was told: session ``{"guidelines", "tags"}``, about no item.
    """

    kind: str
    item_id: str
    annotator: str
    payload: dict[str, Any] = field(default_factory=_payload)
    event_id: str = field(default_factory=new_id)
    time: float = field(default_factory=time.time)  # [s since 1970]
    seq: int = 0  # given by the store, from 1

    @property
    def repeat(self) -> bool:
        """Whether it is about an item that came back swapped."""
        return bool(self.payload.get("repeat"))

    @property
    def counts(self) -> bool:
        """Whether it is a label to train on: neither a repeat nor a gold item, nor a skip."""
        return self.kind in LABELS and self.payload.get("reason") not in ("repeat", "gold")


class History:
    """All events so far, oldest first, and what holds of them after undo and redo."""

    def __init__(self) -> None:
        self.actions: dict[str, LabelEvent] = {}  # event id -> what was done, oldest first
        self.undone: set[str] = set()
        self.last: LabelEvent | None = None
        self.people: set[str] = set()
        self.marked = False  # whether anything was ever flagged or noted
        # ids of actions by item, annotator and repeat; by annotator what undo would take back, and
        # what redo would restore, newest last
        self._by_item: dict[tuple[str, str, bool], list[str]] = defaultdict(list)
        self._to_undo: dict[str, list[str]] = defaultdict(list)
        self._to_redo: dict[str, list[str]] = defaultdict(list)

    def add(self, event: LabelEvent) -> None:
        """Take in the next event."""
        self.last = event
        who, ident = event.annotator, event.event_id
        self.people.add(who)
        if event.kind in ACTIONS:
            self.actions[ident] = event
            self.marked = self.marked or event.kind in MARKS
            self._by_item[event.item_id, who, event.repeat].append(ident)
            self._to_undo[who].append(ident)
            self._to_redo[who].clear()
        elif event.kind in ("undo", "redo"):
            self._turn(event, self._to_undo[who], self._to_redo[who])

    def _turn(self, event: LabelEvent, to_undo: list[str], to_redo: list[str]) -> None:
        action = str(event.payload.get("event"))
        if event.kind == "undo" and action in self.actions and action not in self.undone:
            self.undone.add(action)
            _remove(to_undo, action)
            to_redo.append(action)
        elif event.kind == "redo" and action in self.undone:
            self.undone.remove(action)
            _remove(to_redo, action)
            to_undo.append(action)

    def to_undo(self, annotator: str) -> LabelEvent | None:
        """Return the action that undo takes back now."""
        actions = self._to_undo.get(annotator)
        return self.actions[actions[-1]] if actions else None

    def to_redo(self, annotator: str) -> LabelEvent | None:
        """Return the action that redo restores now: none after something new was done."""
        actions = self._to_redo.get(annotator)
        return self.actions[actions[-1]] if actions else None

    def decision(self, item_id: str, annotator: str, repeat: bool = False) -> LabelEvent | None:
        """Return the label, edit or skip that holds for an item, if one does."""
        return self._last(item_id, annotator, repeat, DECISIONS)

    def mark(
        self, item_id: str, annotator: str, kind: str, repeat: bool = False
    ) -> LabelEvent | None:
        """Return the flag or note that holds for an item, if one does."""
        return self._last(item_id, annotator, repeat, (kind,))

    def decisions(self) -> Iterator[LabelEvent]:
        """Yield the decision that holds, for every item, annotator and repeat, oldest first."""
        for key in self._by_item:
            event = self._last(*key, DECISIONS)
            if event is not None:
                yield event

    def _last(
        self, item_id: str, annotator: str, repeat: bool, kinds: tuple[str, ...]
    ) -> LabelEvent | None:
        for ident in reversed(self._by_item.get((item_id, annotator, repeat), ())):
            event = self.actions[ident]
            if event.kind in kinds and ident not in self.undone:
                return event
        return None


def _remove(stack: list[str], ident: str) -> None:
    """Take the newest ``ident`` off a stack, if it is there; it is nearly always the last entry."""
    for index in range(len(stack) - 1, -1, -1):
        if stack[index] == ident:
            del stack[index]
            return

"""Label events, and what they add up to.

An event is never changed. What holds now is worked out from all of them: a decision holds unless
the last ``undo`` or ``redo`` that names it is an undo.
"""

import gc
import time
import uuid
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from workbench.data.store.label_values import majority

__all__ = [
    "ACTIONS",
    "DECISIONS",
    "LABELS",
    "MARKS",
    "QUEUED",
    "Event",
    "History",
    "majority",
    "many_at_once",
    "new_id",
]

LABELS = ("label", "edit")  # an edit is a label too: the answer that was edited is the better one
DECISIONS = (*LABELS, "skip")
MARKS = ("flag", "note")
ACTIONS = DECISIONS + MARKS  # what a person does; undo and redo name one of these
QUEUED = "queue"  # a pair was sent to be labelled, from wherever it was seen


@contextmanager
def many_at_once() -> Generator[None]:
    """Read many events without the garbage collector, which would walk them all again and again.

    Nothing here makes cycles; with 150,000 events it takes a third of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def new_id() -> str:
    """Return an event id that no one else makes."""
    return uuid.uuid4().hex


def _payload() -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Event:
    """One thing a person did, as stored.

    Payloads: label ``{"label", "choice", "order", "left", "shown_at", "decided_at", "reason"}``,
    where ``label["winner"]`` counts the item's responses, ``order`` is how they stood on screen and
    ``reason`` is why the item came up (file, random, uncertain with ``model`` and ``margin``, gold
    with ``passed``, repeat); edit the same with ``text``, the better wording of the winner;
    flag ``{"reason"}``; note ``{"text"}``; undo and redo ``{"event"}``, the event they name; queue
    ``{"from"}``, where the pair was seen.
    ``"repeat": true`` stands in what is done to an item that came back swapped.
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
    """What a stream of events, oldest first, adds up to; grows event by event."""

    def __init__(self) -> None:
        self.actions: dict[str, Event] = {}  # event id -> what was done, oldest first
        self.undone: set[str] = set()
        self.last: Event | None = None
        self.people: set[str] = set()
        self.marked = False  # whether anything was ever flagged or noted
        self._by_item: dict[tuple[str, str, bool], list[str]] = {}  # item, annotator, repeat
        self._done: dict[str, list[str]] = {}  # annotator -> actions that undo would take back
        self._taken_back: dict[str, list[str]] = {}  # annotator -> actions that redo would restore

    def add(self, event: Event) -> None:
        """Take in the next event."""
        self.last = event
        who, ident = event.annotator, event.event_id
        if who not in self.people:
            self.people.add(who)
            self._done[who], self._taken_back[who] = [], []
        if event.kind in ACTIONS:
            self.actions[ident] = event
            self.marked = self.marked or event.kind in MARKS
            key = (event.item_id, who, event.repeat)
            if key in self._by_item:
                self._by_item[key].append(ident)
            else:
                self._by_item[key] = [ident]
            self._done[who].append(ident)
            self._taken_back[who].clear()
        elif event.kind in ("undo", "redo"):
            self._turn(event, self._done[who], self._taken_back[who])

    def _turn(self, event: Event, done: list[str], back: list[str]) -> None:
        named = str(event.payload.get("event"))
        if event.kind == "undo" and named in self.actions and named not in self.undone:
            self.undone.add(named)
            _remove(done, named)
            back.append(named)
        elif event.kind == "redo" and named in self.undone:
            self.undone.remove(named)
            if named in back:
                _remove(back, named)
            done.append(named)

    def to_undo(self, annotator: str) -> Event | None:
        """Return the action that undo takes back now."""
        done = self._done.get(annotator)
        return self.actions[done[-1]] if done else None

    def to_redo(self, annotator: str) -> Event | None:
        """Return the action that redo restores now: none after something new was done."""
        back = self._taken_back.get(annotator)
        return self.actions[back[-1]] if back else None

    def decision(self, item_id: str, annotator: str, repeat: bool = False) -> Event | None:
        """Return the label, edit or skip that holds for an item, if one does."""
        return self._last(item_id, annotator, repeat, DECISIONS)

    def mark(self, item_id: str, annotator: str, kind: str, repeat: bool = False) -> Event | None:
        """Return the flag or note that holds for an item, if one does."""
        return self._last(item_id, annotator, repeat, (kind,))

    def standing(self) -> Iterable[Event]:
        """Yield the decision that holds, for every item, annotator and repeat, oldest first."""
        for key in self._by_item:
            event = self._last(*key, DECISIONS)
            if event is not None:
                yield event

    def _last(
        self, item_id: str, annotator: str, repeat: bool, kinds: tuple[str, ...]
    ) -> Event | None:
        for ident in reversed(self._by_item.get((item_id, annotator, repeat), [])):
            event = self.actions[ident]
            if event.kind in kinds and ident not in self.undone:
                return event
        return None


def _remove(stack: list[str], ident: str) -> None:
    """Take the newest ``ident`` off a stack; it is nearly always the last entry."""
    for place in range(len(stack) - 1, -1, -1):
        if stack[place] == ident:
            del stack[place]
            return

"""Where one annotator stands: the place in the order, what is decided, what others hold or did."""

import sqlite3
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from workbench.data.labelling.item_order import GOLD, ITEM, REPEAT, ItemOrder
from workbench.data.pairs import Pair
from workbench.data.store.claims import Claims
from workbench.data.store.label_events import (
    DECISIONS,
    LABELS,
    QUEUED,
    History,
    LabelEvent,
    gc_paused,
)
from workbench.data.store.label_values import label_key
from workbench.data.store.labels import LabelStore
from workbench.errors import DataError

HELD_BY_OTHERS = 10.0  # [s] until an item that somebody else holds is tried again
BREAK = 300.0  # [s] a longer gap between two labels is a pause, not work
RECENT = 50  # labels that the speed is measured over


class ItemCursor:
    """The place to decide now, among places 0 to ``total - 1``, each open or closed.

    It goes forward over the open places and comes back at the end for those passed over. A place
    that was pinned (by a jump, an undo, a mark) is stayed with, open or not.
    """

    def __init__(self, total: int) -> None:
        self.left = total  # how many places are open
        self.pinned: int | None = None
        self._open = bytearray(b"\x01" * total)
        self._start = 0  # where the search for an open place begins

    def set_open(self, place: int, is_open: bool) -> None:
        """Open a place, or close it."""
        self.left += int(is_open) - self._open[place]
        self._open[place] = is_open

    def here(self) -> int | None:
        """Return the place to decide now; None when all are closed and none is pinned."""
        if self.pinned is not None:
            return self.pinned
        place = next(iter(self.upcoming(self._start, 1)), None)
        self._start = self._start if place is None else place
        return place

    def go_on(self, place: int) -> None:
        """Go on to what comes after a place."""
        self.pinned, self._start = None, place + 1

    def upcoming(self, start: int, count: int, leave_out: int | None = None) -> list[int]:
        """Return the next open places from ``start`` on, then from the beginning."""
        places: list[int] = []
        total = len(self._open)
        for low, high in ((start, total), (0, min(start, total))):
            place = self._open.find(1, low, high)
            while place >= 0 and len(places) < count:
                if place != leave_out:
                    places.append(place)
                place = self._open.find(1, place + 1, high)
        return places


class LabelCounts:
    """What one annotator has decided, how fast, and how it fits earlier labels and other people's.

    Args:
        annotator: whose counts these are.
        overlap: how many people may label one item; None for all who come.
    """

    def __init__(self, annotator: str, overlap: int | None) -> None:
        self.decided: dict[int, LabelEvent] = {}  # place -> label, edit or skip
        self.flagged: set[int] = set()
        self._annotator, self._overlap = annotator, overlap
        self.full: set[int] = set()  # undecided places that others have labelled often enough
        self._done: dict[int, Any] = {}  # place -> this annotator's label there
        self.times: deque[float] = deque(maxlen=RECENT)  # of labels, in seconds since 1970
        self._votes: dict[str, dict[str, Any]] = {}  # item -> annotator -> label
        self._repeats: dict[str, Any] = {}  # item -> this annotator's label the second time
        # by item: whether all agree, whether both times are the same, whether gold is as it should
        self._agreed: dict[str, bool] = {}
        self._consistent: dict[str, bool] = {}
        self._passed: dict[str, bool] = {}

    def others(self, item_id: str) -> set[str]:
        """Return who else has labelled an item."""
        return self._votes.get(item_id, {}).keys() - {self._annotator}

    def update(
        self, place: int, kind: int, item_id: str, annotator: str, decision: LabelEvent | None
    ) -> None:
        """Take in which decision of an annotator holds at a place now; None for no decision."""
        is_label = decision is not None and decision.kind in LABELS
        label = label_key(decision.payload["label"]) if decision and is_label else None
        if kind == ITEM:
            self._vote(item_id, annotator, label if decision and decision.counts else None)
        if annotator == self._annotator:
            _put(self.decided, place, decision)
            _put(self._done, place, label)
            if kind == REPEAT:
                _put(self._repeats, item_id, label)
            elif kind == GOLD:
                passed = bool(decision.payload["passed"]) if decision and is_label else None
                _put(self._passed, item_id, passed)
            first, second = self._votes.get(item_id, {}).get(annotator), self._repeats.get(item_id)
            _put(self._consistent, item_id, first == second if first and second else None)
        if kind == ITEM and self._overlap is not None:
            votes = self._votes[item_id]
            full = len(votes) - (self._annotator in votes) >= self._overlap
            (self.full.add if full and place not in self.decided else self.full.discard)(place)

    def progress(self, total: int) -> dict[str, Any]:
        """Return the counts, and the shares: None where there is nothing to take a share of."""
        gaps = [min(later - time, BREAK) for time, later in pairwise(self.times)]
        worked = sum(gaps)
        return {
            "done": len(self._done),
            "skipped": len(self.decided) - len(self._done),
            "flagged": len(self.flagged),
            "left": total - len(self.decided) - len(self.full),
            "total": total,
            "per_hour": round(3600 * len(gaps) / worked, 1) if worked > 0 else None,
            "agreement": _share(self._agreed),
            "consistency": _share(self._consistent),
            "gold": _share(self._passed),
        }

    def _vote(self, item_id: str, annotator: str, label: Any) -> None:
        votes = self._votes.setdefault(item_id, {})
        _put(votes, annotator, label)
        agreed = len(set(votes.values())) == 1 if len(votes) > 1 else None
        _put(self._agreed, item_id, agreed)


class AnnotatorProgress:
    """One annotator's way through the items, kept up to date with the store.

    Claims what is shown, so that nobody else is shown it too.

    Args:
        order: what stands where.
        store: whose events are followed.
        annotator: who labels.
        overlap: how many people may label one item; None for all who come.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        order: ItemOrder,
        store: LabelStore,
        annotator: str,
        overlap: int | None,
        clock: Callable[[], float],
    ) -> None:
        self._order, self._store, self._annotator = order, store, annotator
        self._overlap, self._clock = overlap, clock
        self._history = History()
        self._counts = LabelCounts(annotator, overlap)
        self._cursor = ItemCursor(len(order))
        self._claims = Claims(store, annotator, clock)
        self._shown: dict[int, str | None] = {}  # place -> the decision that was shown with it
        self._away: dict[int, float] = {}  # place -> when to try again what somebody else holds
        self._seq = 0  # of the last event taken in
        with gc_paused():
            last = self.refresh()
        if last is not None:  # go on where this annotator stopped
            self._move(last)

    # --- what is where

    def here(self) -> int | None:
        """Return the place to show: pinned, or the next open one that nobody else holds."""
        self.refresh()
        if self._cursor.pinned is not None:
            self._claim([self._cursor.pinned])
            return self._cursor.pinned
        self._come_back()
        while (place := self._cursor.here()) is not None:
            if self._hold([place]):
                return place
        return None

    def upcoming(self, count: int) -> list[int]:
        """Return the open places after the one to show that nobody else holds."""
        here = self.here()
        while here is not None:
            places = self._cursor.upcoming(here + 1, count, leave_out=here)
            if len(self._hold(places)) == len(places):
                return places
        return []

    def jump(self, place: int) -> None:
        """Go to a place and stay there until something is decided."""
        self.refresh()
        self._cursor.pinned = place

    def show(self, place: int) -> dict[str, Any]:
        """Return what this annotator said of an item before, and remember that they know it.

        Returns:
            ``decided``, ``strength``, ``flagged``, ``note`` and ``tags`` of a ``DisplayedItem``.
        """
        decision, note = self._counts.decided.get(place), self._mark(place, "note")
        self._shown[place] = decision.event_id if decision else None
        payload = decision.payload if decision else {}
        return {
            "decided": payload.get("choice", "skip") if decision else None,
            "strength": payload.get("label", {}).get("strength"),
            "flagged": place in self._counts.flagged,
            "note": str(note.payload["text"]) if note else "",
            "tags": tuple(payload.get("tags", ())),
        }

    def counts(self) -> dict[str, Any]:
        """Return the counts and shares of :meth:`LabelSession.progress`."""
        self.refresh()
        return self._counts.progress(len(self._order))

    # --- doing

    def commit(self, event: LabelEvent, pair: Pair | None = None) -> bool:
        """Store an action and go where it leads; a decision gives up its claim on the item.

        A label is held to the rule of so many people, and one window each, an item.

        Returns:
            False where an event of this id was stored before.

        Raises:
            DataError: somebody else labels the item, or this annotator did so elsewhere; or it
                could not be written.
        """
        with self._store.exclusively() as db:
            self.refresh()
            place = self._place_of(event)
            if place is not None and event.kind in LABELS:
                self._permit(db, place)
            saved = self._store.append(event, item=pair)
            if place is not None and event.kind in DECISIONS:
                self._claims.drop(db, self._order.slot(place))
        self.refresh(event.event_id)
        return saved

    def action_to(self, kind: str) -> LabelEvent | None:
        """Return the action that "undo" takes back now, or that "redo" restores; None for none."""
        self.refresh()
        find = self._history.to_undo if kind == "undo" else self._history.to_redo
        return find(self._annotator)

    def release(self) -> None:
        """Let go of everything that is claimed."""
        self._claims.release()

    # --- taking in

    def refresh(self, own: str | None = None) -> LabelEvent | None:
        """Take in what was stored since, by anybody.

        Args:
            own: the event that this session stored; only that moves it to another item.

        Returns:
            The last new event of this annotator.
        """
        last = None
        touched: dict[tuple[int, str], None] = {}  # each settled once, however often it was touched
        for event in self._store.event_list(self._seq):
            self._seq = event.seq
            place = self._place_of(event)
            if place is None:
                continue
            self._history.add(event)
            touched[place, event.annotator] = None
            if event.annotator == self._annotator and event.kind != QUEUED:
                last = event
                if event.kind in LABELS:
                    self._counts.times.append(event.time)
                if event.event_id == own:
                    self._settle(touched)
                    self._move(event)
                    self.show(place)
        self._settle(touched)
        return last

    def _place_of(self, event: LabelEvent) -> int | None:
        """Return the place that an event is about; None where it is not in this session."""
        repeat = event.repeat
        if event.kind in ("undo", "redo"):
            action = self._history.actions.get(str(event.payload.get("event")))
            repeat = action is not None and action.repeat
        return self._order.place(event.item_id, repeat)

    def _settle(self, touched: dict[tuple[int, str], None]) -> None:
        """Work out anew what holds at these places for these people, and forget them."""
        order, counts = self._order, self._counts
        for place, annotator in touched:
            item_id, kind = order.ids[place], order.kinds[place]
            decision = self._history.decision(item_id, annotator, kind == REPEAT)
            counts.update(place, kind, item_id, annotator, decision)
            if annotator == self._annotator and self._history.marked:
                flag = self._mark(place, "flag")
                (counts.flagged.discard if flag is None else counts.flagged.add)(place)
            self._set_open(place)
        touched.clear()

    def _mark(self, place: int, kind: str) -> LabelEvent | None:
        repeat = self._order.kinds[place] == REPEAT
        return self._history.mark(self._order.ids[place], self._annotator, kind, repeat)

    def _move(self, event: LabelEvent) -> None:
        """Go on after a decision; stay with an item that was marked, go back to one undone."""
        place = self._place_of(event)
        kind = event.kind
        if kind == "redo":
            kind = self._history.actions[event.payload["event"]].kind
        if place is not None and kind in DECISIONS:
            self._cursor.go_on(place)
        elif place is not None:
            self._cursor.pinned = place

    # --- claiming

    def _permit(self, db: sqlite3.Connection, place: int) -> None:
        decision = self._counts.decided.get(place)
        fault = None
        if place in self._shown and decision and decision.event_id != self._shown[place]:
            fault = "this item was labelled in another window since it was shown here"
        elif not self._is_free(db, place):
            fault = "somebody else labels this item, or has labelled it"
        if fault is not None:
            self._shown.pop(place, None)
            self._leave(place)
            self._cursor.pinned = None
            raise DataError(
                fault, where=f"session of {self._annotator}", fix="go on with the next item"
            )

    def _hold(self, places: list[int]) -> list[int]:
        """Claim places; return those that are held now. The others are left alone for a while."""
        held = self._claim(places)
        for place in set(places).difference(held, self._counts.decided):
            self._leave(place)
        return held

    def _claim(self, places: list[int]) -> list[int]:
        """Claim places, all in one transaction; return those that are held now.

        A store that cannot be written holds nothing: then all may be shown, and a label is refused
        when it comes.
        """
        if all(self._claims.is_held(self._order.slot(place)) for place in places):
            return places
        held: list[int] = []
        try:
            with self._store.exclusively(durable=False) as db:
                self.refresh()
                for place in places:
                    done = place in self._counts.decided and place != self._cursor.pinned
                    if not done and self._is_free(db, place):
                        self._claims.take(db, self._order.slot(place))
                        held.append(place)
        except DataError:
            return places
        return held

    def _is_free(self, db: sqlite3.Connection, place: int) -> bool:
        own = self._order.kinds[place] != ITEM  # each person has these to themselves
        people = () if own else self._counts.others(self._order.ids[place])
        limit = None if own else self._overlap
        return self._claims.is_free(db, self._order.slot(place), people, limit)

    def _leave(self, place: int) -> None:
        self._away[place] = self._clock() + HELD_BY_OTHERS
        self._set_open(place)

    def _come_back(self) -> None:
        """Open again what others held a while ago; all of it where nothing else is left."""
        now = self._clock()
        for place, until in list(self._away.items()):
            if until <= now or not self._cursor.left:
                del self._away[place]
                self._set_open(place)

    def _set_open(self, place: int) -> None:
        counts = self._counts
        closed = place in counts.decided or place in counts.full or place in self._away
        self._cursor.set_open(place, not closed)


def _put(values: dict[Any, Any], key: Any, value: Any) -> None:
    """Keep a value under its key; None takes the key out."""
    if value is None:
        values.pop(key, None)
    else:
        values[key] = value


def _share(holds: dict[str, bool]) -> float | None:
    return sum(holds.values()) / len(holds) if holds else None

"""Where one person stands among what everybody did: follows the store, and claims what is shown."""

import sqlite3
from collections.abc import Callable

from workbench.data.labelling.item_order import GOLD, ITEM, REPEAT, Plan
from workbench.data.labelling.tally import Tally
from workbench.data.labelling.walk import Walk
from workbench.data.store.claims import Claims
from workbench.data.store.label_events import (
    DECISIONS,
    LABELS,
    QUEUED,
    Event,
    History,
    many_at_once,
)
from workbench.data.store.labels import LabelStore
from workbench.errors import DataError

HELD_BY_OTHERS = 10.0  # [s] until an item that somebody else holds is tried again


class Course:
    """One person's way through a plan, kept up to date with the store.

    Args:
        plan: what stands where.
        store: whose events are followed.
        annotator: whose way it is.
        overlap: how many people may label one item; None for all who come.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        plan: Plan,
        store: LabelStore,
        annotator: str,
        overlap: int | None,
        clock: Callable[[], float],
    ) -> None:
        self.history = History()
        self.tally = Tally(annotator)
        self.walk = Walk(len(plan))
        self.claims = Claims(store, annotator, clock)
        self._plan, self._store, self._annotator = plan, store, annotator
        self._overlap, self._clock = overlap, clock
        self._told: dict[int, str | None] = {}  # place -> the decision that was shown with it
        self._away: dict[int, float] = {}  # place -> when to try again what somebody else holds
        self._seen = 0  # seq of the last event taken in
        self._last: Event | None = None  # the last of this person's events
        with many_at_once():
            self.refresh()
        if self._last is not None:  # go on where this person stopped
            self._move(self._last)

    def refresh(self, mine: str | None = None) -> None:
        """Take in what was stored since, by anybody.

        Only this session's own event, ``mine``, moves it to another item.
        """
        touched: dict[tuple[int, str], None] = {}  # each settled once, however often it was touched
        for event in self._store.event_list(self._seen):
            self._seen = event.seq
            place = self._place_of(event)
            if place is None:
                continue
            self.history.add(event)
            touched[place, event.annotator] = None
            if event.annotator == self._annotator and event.kind != QUEUED:
                self._last = event
                if event.kind in LABELS:
                    self.tally.worked(event.time)
                if event.event_id == mine:
                    self._settle(touched)
                    self._move(event)
                    self.tell(place)
        self._settle(touched)

    def tell(self, place: int) -> None:
        """Remember that this person knows what holds at a place."""
        decision = self.tally.decided.get(place)
        self._told[place] = decision.event_id if decision else None

    def here(self) -> int | None:
        """Return the place to show: pinned, or the next open one that nobody else holds."""
        if self.walk.pinned is not None:
            self._claim([self.walk.pinned])
            return self.walk.pinned
        self._come_back()
        while (place := self.walk.here()) is not None:
            if self._hold([place]):
                return place
        return None

    def upcoming(self, here: int, count: int) -> list[int]:
        """Return the open places after this one that nobody else holds."""
        while True:
            places = self.walk.upcoming(here + 1, count, leave_out=here)
            if len(self._hold(places)) == len(places):
                return places

    def permit(self, db: sqlite3.Connection, place: int) -> None:
        """Hold a label to the rule of so many people, and one window each, an item.

        Call it inside ``store.exclusively()``.

        Raises:
            DataError: somebody else labels the item, or this person did so elsewhere.
        """
        now = self.tally.decided.get(place)
        fault = None
        if place in self._told and now is not None and now.event_id != self._told[place]:
            fault = "this item was labelled in another window since it was shown here"
        elif not self._is_free(db, place):
            fault = "somebody else labels this item, or has labelled it"
        if fault is not None:
            self._told.pop(place, None)
            self._leave(place)
            self.walk.pinned = None
            raise DataError(
                fault, where=f"session of {self._annotator}", fix="go on with the next item"
            )

    # --- taking in

    def _place_of(self, event: Event) -> int | None:
        """Return the place that an event is about; None where it is not in this session."""
        repeat = event.repeat
        if event.kind in ("undo", "redo"):
            named = self.history.actions.get(str(event.payload.get("event")))
            repeat = named is not None and named.repeat
        return self._plan.place(event.item_id, repeat)

    def _settle(self, touched: dict[tuple[int, str], None]) -> None:
        """Work out anew what holds at these places for these people, and forget them."""
        tally, plan, overlap = self.tally, self._plan, self._overlap
        for place, who in touched:
            item_id, kind = plan.ids[place], plan.kinds[place]
            decision = self.history.decision(item_id, who, kind == REPEAT)
            if kind == ITEM:
                tally.vote(item_id, who, decision)
            if who == self._annotator:
                self._settle_mine(place, decision)
            if kind == ITEM and overlap is not None:
                tally.fill(place, tally.other_votes(item_id) >= overlap)
            self._set_open(place)
        touched.clear()

    def _settle_mine(self, place: int, decision: Event | None) -> None:
        item_id, kind = self._plan.ids[place], self._plan.kinds[place]
        self.tally.decide(place, decision)
        if kind == REPEAT:
            self.tally.repeat(item_id, decision)
        elif kind == GOLD:
            self.tally.gold(item_id, decision)
        if self.history.marked:
            flag = self.history.mark(item_id, self._annotator, "flag", kind == REPEAT)
            (self.tally.flagged.discard if flag is None else self.tally.flagged.add)(place)

    def _move(self, event: Event) -> None:
        """Go on after a decision; stay with an item that was marked, go back to one undone."""
        place = self._place_of(event)
        kind = event.kind
        if kind == "redo":
            kind = self.history.actions[event.payload["event"]].kind
        if place is not None and kind in DECISIONS:
            self.walk.go_on(place)
        elif place is not None:
            self.walk.pin(place)

    # --- claiming

    def _hold(self, places: list[int]) -> list[int]:
        """Claim places; return those that are held now. The others are left alone for a while."""
        held = self._claim(places)
        for place in set(places).difference(held, self.tally.decided):
            self._leave(place)
        return held

    def _claim(self, places: list[int]) -> list[int]:
        """Claim places, all in one transaction; return those that are held now.

        A store that cannot be written holds nothing: then all may be shown, and a label is refused
        when it comes.
        """
        if all(self.claims.is_held(self._plan.slot(place)) for place in places):
            return places
        held: list[int] = []
        try:
            with self._store.exclusively(durable=False) as db:
                self.refresh()
                for place in places:
                    done = place in self.tally.decided and place != self.walk.pinned
                    if not done and self._is_free(db, place):
                        self.claims.take(db, self._plan.slot(place))
                        held.append(place)
        except DataError:
            return places
        return held

    def _is_free(self, db: sqlite3.Connection, place: int) -> bool:
        own = self._plan.kind(place) != ITEM  # each person has these to themselves
        people = () if own else self.tally.others(self._plan.ids[place])
        limit = None if own else self._overlap
        return self.claims.is_free(db, self._plan.slot(place), people, limit)

    def _leave(self, place: int) -> None:
        self._away[place] = self._clock() + HELD_BY_OTHERS
        self._set_open(place)

    def _come_back(self) -> None:
        """Open again what others held a while ago; all of it where nothing else is left."""
        now = self._clock()
        for place, until in list(self._away.items()):
            if until <= now or not self.walk.left:
                del self._away[place]
                self._set_open(place)

    def _set_open(self, place: int) -> None:
        tally = self.tally
        closed = place in tally.decided or place in tally.full or place in self._away
        self.walk.set_open(place, not closed)

"""Every rule of labelling, without a browser: what is shown, what a key does, what undo takes back.

What can be told from the outside is only what a person may know: the texts, in an order that was
drawn for this person and stored. Labels, models, scores and ids stay in here.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from workbench.data.labelling.item_order import GOLD, Plan, Scores, Wishes
from workbench.data.labelling.screen import Showing
from workbench.data.labelling.shown_item import (
    Shown,
    check_choice,
    chosen,
    edited,
    level_names,
    ordered,
)
from workbench.data.labelling.standing import Course
from workbench.data.pairs import Pair, Pairs
from workbench.data.store.label_events import DECISIONS, LABELS, Event, new_id
from workbench.data.store.label_values import Places, outcome
from workbench.data.store.labels import LabelStore
from workbench.errors import ConfigError, DataError


class LabelSession:
    """One person labelling one table into one store.

    Every action commits an event before it returns, and returns True; with an ``event_id`` that
    is stored already it changes nothing and returns False, so that it may be sent again. Sessions
    on one store, in any process, see each other's events and claim what they show, so that no
    item is labelled by more people than asked, nor by one person in two windows at once.

    Args:
        pairs: what to label; imported labels are not shown.
        store: where the events go, with a copy of each item that is labelled.
        annotator: who labels.
        seed: of all that is drawn; the sides that are stored hold whatever it is.
        order: "file", "random" or "uncertain" (see
            :class:`~workbench.data.labelling.item_order.Wishes`).
        clock: seconds since 1970; a test gives its own.
        strength: levels of "how much better" to ask for, or their names; 0 asks for none.
        overlap: how many people may label one item; None for all who come.
        repeats: the share of items that come back swapped, for ``progress()["consistency"]``.
        gold: items with known labels, put among the others, for ``progress()["gold"]``.
        scores: a reward model's margin for each row, or a function of the table, for "uncertain".
        model: the name of that model, stored with each label.
        explore: the share of places that "uncertain" fills at random.

    Raises:
        DataError: the annotator's name is empty, or the table is; scores or gold do not fit.
        ConfigError: there is no such order; a share, the strength or the overlap cannot be.
    """

    def __init__(
        self,
        pairs: Pairs,
        store: LabelStore,
        *,
        annotator: str,
        seed: int = 0,
        order: str = "file",
        clock: Callable[[], float] = time.time,
        strength: int | Sequence[str] = 0,
        overlap: int | None = 1,
        repeats: float = 0.0,
        gold: Pairs | None = None,
        scores: Scores | None = None,
        model: str | None = None,
        explore: float = 0.1,
    ) -> None:
        _check(annotator, overlap)
        self.annotator, self.seed, self.order, self.overlap = annotator, seed, order, overlap
        self.levels = level_names(strength)
        wishes = Wishes(
            order=order, scores=scores, model=model, explore=explore, repeats=repeats, gold=gold
        )
        self._plan = Plan(pairs, wishes, seed=seed, annotator=annotator)
        self._course = Course(self._plan, store, annotator, overlap, clock)
        self._store, self._clock = store, clock
        self._lock = threading.RLock()
        self._showing = Showing(
            self._plan, self._course, store, annotator=annotator, seed=seed, clock=clock
        )

    def current(self) -> Shown | None:
        """Return the item to decide now, or None when all are decided or others are on them."""
        with self._lock:
            self._course.refresh()
            place = self._course.here()
            return None if place is None else self._showing.show(place)

    def upcoming(self, count: int = 2) -> list[Shown]:
        """Return the undecided items after the current one, for a screen that prepares them."""
        with self._lock:
            self._course.refresh()
            here = self._course.here()
            if here is None:
                return []
            places = self._course.upcoming(here, count)
            return [self._showing.show(place, started=False) for place in places]

    def choose(
        self,
        choice: str | int,
        strength: int | None = None,
        event_id: str | None = None,
        token: str | None = None,
    ) -> bool:
        """Label the current item, or the one that ``token`` stands for, and go on.

        Args:
            choice: "left", "right", "tie" or "both_bad"; or, of more than two responses, the place
                of the best one on screen, from 0.
            strength: how much better, 1 or more; only with a winner.
            event_id: made by whoever asks, so that asking again is harmless.
            token: of the item that was on screen.

        Raises:
            ConfigError: there is no such choice, or the strength does not fit it.
            DataError: nothing is left to label, somebody else labels it, or the store refused.
        """
        check_choice(choice, strength, len(self.levels))
        return self._act("label", lambda _, order: chosen(choice, strength, order), event_id, token)

    def rank(self, places: Places, event_id: str | None = None, token: str | None = None) -> bool:
        """Label the current item by putting its responses in order, and go on.

        Args:
            places: places on screen, from 0, best first; a list in the list is a tie:
                ``[2, [0, 1]]`` puts the third one first and the other two second.
            event_id: as in :meth:`choose`.
            token: as in :meth:`choose`.

        Raises:
            ConfigError: a place is missing, stands twice or does not exist.
            DataError: as in :meth:`choose`.
        """
        return self._act("label", lambda _, order: ordered(places, order), event_id, token)

    def edit(
        self,
        choice: str | int,
        text: str,
        event_id: str | None = None,
        token: str | None = None,
    ) -> bool:
        """Say that an answer is the better one and word it better still; go on.

        The label counts as a choice of that answer. ``store.pairs()`` has the new wording as a
        response of its own, ranked above the answer it was made from.

        Args:
            choice: "left", "right", or a place on screen from 0.
            text: the better wording of the answer (of its last message, where it has several).
            event_id: as in :meth:`choose`.
            token: as in :meth:`choose`.

        Raises:
            ConfigError: the choice names no answer.
            DataError: the text is empty or as it was; or as in :meth:`choose`.
        """
        check_choice(choice, strength=1)  # a tie has no answer to word better
        return self._act(
            "edit", lambda pair, order: edited(choice, text, pair.responses, order), event_id, token
        )

    def skip(self, event_id: str | None = None, token: str | None = None) -> bool:
        """Leave the current item without a label, and go on."""
        return self._act("skip", lambda _, __: {}, event_id, token)

    def flag(self, reason: str = "", event_id: str | None = None, token: str | None = None) -> bool:
        """Mark the current item as one to look at, and stay on it."""
        return self._act("flag", lambda _, __: {"reason": reason}, event_id, token)

    def note(self, text: str, event_id: str | None = None, token: str | None = None) -> bool:
        """Write a note on the current item, and stay on it."""
        return self._act("note", lambda _, __: {"text": text}, event_id, token)

    def undo(self, event_id: str | None = None) -> bool:
        """Take back the last action that holds, and show its item; False when there is none."""
        return self._turn("undo", self._course.history.to_undo, event_id)

    def redo(self, event_id: str | None = None) -> bool:
        """Restore the last action taken back; False when there is none, or after a new action."""
        return self._turn("redo", self._course.history.to_redo, event_id)

    def jump(self, position: int) -> Shown:
        """Go to an item, decided or not. ``position`` counts from 0.

        Raises:
            DataError: there is no such item.
        """
        with self._lock:
            if not 0 <= position < len(self._plan):
                raise DataError(
                    f"there is no item {position}",
                    where="session.jump",
                    fix=f"give a position from 0 to {len(self._plan) - 1}",
                )
            self._course.refresh()
            self._course.walk.pin(position)
            return self._showing.show(position)

    def progress(self) -> dict[str, Any]:
        """Return counts of items (done, skipped, flagged, left, total), speed and reliability.

        ``left`` leaves out what as many others as may have labelled. ``per_hour`` is over the
        latest labels, pauses cut to five minutes; None before the second. Shares, None where there
        is nothing to compare: ``agreement``, of the items that several people labelled, those on
        which all agree; ``consistency``, of the items that came back swapped, those labelled the
        same; ``gold``, of the gold items, those labelled as they should be.
        """
        with self._lock:
            self._course.refresh()
            return self._course.tally.progress(len(self._plan))

    def close(self) -> None:
        """Let go of what was claimed, so that others need not wait. The session stays usable."""
        with self._lock:
            self._course.claims.release()

    # --- doing

    def _act(
        self,
        kind: str,
        payload_of: Callable[[Pair, list[int]], dict[str, Any]],
        event_id: str | None,
        token: str | None,
    ) -> bool:
        """Commit one action on the current item or the token's."""
        with self._lock:
            if event_id is not None and self._store.has_event(event_id):
                return False
            self._course.refresh()
            place = self._course.here() if token is None else self._showing.place_of(token)
            if place is None:
                raise DataError(
                    "every item is decided",
                    where=f"session of {self.annotator}",
                    fix="undo, jump to an item, or give more pairs",
                )
            pair = self._showing.pair(place)
            now = self._clock()
            payload = payload_of(pair, self._showing.sides(place))
            payload = self._payload(kind, payload, pair, place, now)
            event = Event(kind, pair.id, self.annotator, payload, event_id or new_id(), now)
            try:
                with self._store.exclusively() as db:
                    self._course.refresh()
                    if kind in LABELS:
                        self._course.permit(db, place)
                    saved = self._store.append(event, item=pair)
                    if kind in DECISIONS:
                        self._course.claims.drop(db, self._plan.slot(place))
            except DataError:
                self._showing.forget_item(place)
                raise
            self._showing.ended(place)
            self._course.refresh(event.event_id)
            return saved

    def _payload(
        self, kind: str, payload: dict[str, Any], pair: Pair, place: int, now: float
    ) -> dict[str, Any]:
        """Return an event's payload: beside what was said, what was seen, when, and why."""
        why = self._plan.why(place)
        if kind not in DECISIONS:
            return {**payload, "repeat": True} if why.get("repeat") else payload
        order = self._showing.sides(place)
        seen = {"order": order, "left": order[0], "shown_at": self._showing.shown_at(place)}
        if self._plan.kind(place) == GOLD and kind in LABELS:
            why["passed"] = outcome(payload["label"]) == outcome(self._plan.truth(place, pair))
        return {**payload, **seen, **why, "decided_at": now}

    def _turn(self, kind: str, find: Callable[[str], Event | None], event_id: str | None) -> bool:
        with self._lock:
            if event_id is not None and self._store.has_event(event_id):
                return False
            self._course.refresh()
            named = find(self.annotator)
            if named is None:
                return False
            payload = {"event": named.event_id}
            now = self._clock()
            event = Event(kind, named.item_id, self.annotator, payload, event_id or new_id(), now)
            saved = self._store.append(event)
            self._course.refresh(event.event_id)
            return saved


def _check(annotator: str, overlap: int | None) -> None:
    if not annotator.strip():
        raise DataError(
            "the annotator has no name",
            where="LabelSession(annotator=...)",
            fix="give a name, so that labels can be told apart",
        )
    if overlap is not None and overlap < 1:
        raise ConfigError(
            f"an overlap of {overlap} leaves nobody to label",
            where="LabelSession(overlap=...)",
            fix="give how many people may label one item, or None for all who come",
        )

"""A labelling session, without a browser: what is shown, what an action does, what undo takes back.

Only what a person may know can be read from it: the texts, in an order that was drawn for this
person and stored. Labels, models, scores and ids stay inside.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from workbench.data.labelling.guidelines import (
    chosen_tags,
    read_guidelines,
    session_event,
    tag_names,
)
from workbench.data.labelling.item_order import GOLD, REPEAT, ItemOrder, MarginSource
from workbench.data.labelling.shown_item import (
    DisplayedItem,
    check_choice,
    choice_payload,
    draw_order,
    draw_token,
    edit_payload,
    level_names,
    ranking_payload,
)
from workbench.data.labelling.standing import AnnotatorProgress
from workbench.data.pairs import Pair, Pairs
from workbench.data.store.label_events import DECISIONS, LABELS, LabelEvent, new_id
from workbench.data.store.label_values import RankedPlaces, label_key
from workbench.data.store.labels import LabelStore
from workbench.errors import ConfigError, DataError

CACHED = 256  # items kept as they were shown


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
        order: "file", "random" or "uncertain": the smallest margins of a reward model first.
        clock: seconds since 1970; a test gives its own.
        strength: levels of "how much better" to ask for, or their names; 0 asks for none.
        overlap: how many people may label one item; None for all who come.
        repeats: the share of items that come back swapped, for ``progress()["consistency"]``.
        gold: items with known labels, put among the others, for ``progress()["gold"]``.
        scores: for "uncertain", a margin for each row of the table (best less second-best score of
            a reward model), or a function of the table that returns them. [reward points]
        model: the name of that model, stored with each label.
        explore: the share of places that "uncertain" fills at random.
        guidelines: what the annotator is told, a text or a file; kept in the store.
        tags: reasons that may be given with a label.

    Raises:
        DataError: the annotator's name is empty, or the table is; scores or gold do not fit; the
            guidelines cannot be read.
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
        scores: MarginSource | None = None,
        model: str | None = None,
        explore: float = 0.1,
        guidelines: str | Path | None = None,
        tags: Iterable[str] | None = None,
    ) -> None:
        _check(annotator, overlap)
        self.annotator, self.seed, self.order, self.overlap = annotator, seed, order, overlap
        self.levels = level_names(strength)
        self.guidelines, self.tags = read_guidelines(guidelines), tag_names(tags)
        self._session_event = session_event(annotator, self.guidelines, self.tags)
        self._session_stored = False
        self._order = ItemOrder(
            pairs,
            annotator=annotator,
            seed=seed,
            order=order,
            scores=scores,
            model=model,
            explore=explore,
            repeats=repeats,
            gold=gold,
        )
        self._progress = AnnotatorProgress(self._order, store, annotator, overlap, clock)
        self.store = store
        self._clock = clock
        self._tokens: dict[str, int] = {}  # given out with an item -> its place
        self._shown_at: dict[int, float] = {}  # place -> since when it is on the screen
        self._items: dict[int, Pair] = {}  # place -> the item as it was shown
        self._lock = threading.RLock()

    def current(self) -> DisplayedItem | None:
        """Return the item to decide now, or None when all are decided or others are on them."""
        with self._lock:
            place = self._progress.here()
            return None if place is None else self._show(place)

    def upcoming(self, count: int = 2) -> list[DisplayedItem]:
        """Return the undecided items after the current one, for a screen that prepares them."""
        with self._lock:
            places = self._progress.upcoming(count)
            return [self._show(place, started=False) for place in places]

    def choose(
        self,
        choice: str | int,
        strength: int | None = None,
        event_id: str | None = None,
        token: str | None = None,
        tags: Iterable[str] = (),
    ) -> bool:
        """Label the current item, or the one that ``token`` stands for, and go on.

        Args:
            choice: "left", "right", "tie" or "both_bad"; or, of more than two responses, the place
                of the best one on screen, from 0.
            strength: how much better, 1 or more; only with a winner.
            event_id: made by whoever asks, so that asking again is harmless.
            token: of the item that was on screen.
            tags: reasons, of those that the session offers.

        Raises:
            ConfigError: there is no such choice, or the strength does not fit it; no such tag.
            DataError: nothing is left to label, somebody else labels it, or the store refused.
        """
        check_choice(choice, strength, len(self.levels))
        return self._act(
            "label", lambda _, order: choice_payload(choice, strength, order), event_id, token, tags
        )

    def rank(
        self,
        places: RankedPlaces,
        event_id: str | None = None,
        token: str | None = None,
        tags: Iterable[str] = (),
    ) -> bool:
        """Label the current item by putting its responses in order, and go on.

        Args:
            places: places on screen, from 0, best first; a list in the list is a tie:
                ``[2, [0, 1]]`` puts the third one first and the other two second.
            event_id: as in :meth:`choose`.
            token: as in :meth:`choose`.
            tags: as in :meth:`choose`.

        Raises:
            ConfigError: a place is missing, stands twice or does not exist.
            DataError: as in :meth:`choose`.
        """
        return self._act(
            "label", lambda _, order: ranking_payload(places, order), event_id, token, tags
        )

    def edit(
        self,
        choice: str | int,
        text: str,
        event_id: str | None = None,
        token: str | None = None,
        tags: Iterable[str] = (),
    ) -> bool:
        """Say that an answer is the better one and word it better still; go on.

        The label counts as a choice of that answer. ``store.pairs()`` has the new wording as a
        response of its own, ranked above the answer it was made from.

        Args:
            choice: "left", "right", or a place on screen from 0.
            text: the better wording of the answer (of its last message, where it has several).
            event_id: as in :meth:`choose`.
            token: as in :meth:`choose`.
            tags: as in :meth:`choose`.

        Raises:
            ConfigError: the choice names no answer.
            DataError: the text is empty or as it was; or as in :meth:`choose`.
        """
        check_choice(choice, strength=1)  # a tie has no answer to word better
        return self._act(
            "edit",
            lambda pair, order: edit_payload(choice, text, pair.responses, order),
            event_id,
            token,
            tags,
        )

    def skip(
        self,
        event_id: str | None = None,
        token: str | None = None,
        tags: Iterable[str] = (),
    ) -> bool:
        """Leave the current item without a label, and go on."""
        return self._act("skip", lambda _, __: {}, event_id, token, tags)

    def flag(self, reason: str = "", event_id: str | None = None, token: str | None = None) -> bool:
        """Mark the current item as one to look at, and stay on it."""
        return self._act("flag", lambda _, __: {"reason": reason}, event_id, token)

    def note(self, text: str, event_id: str | None = None, token: str | None = None) -> bool:
        """Write a note on the current item, and stay on it."""
        return self._act("note", lambda _, __: {"text": text}, event_id, token)

    def undo(self, event_id: str | None = None) -> bool:
        """Take back the last action that holds, and show its item; False when there is none."""
        return self._turn("undo", event_id)

    def redo(self, event_id: str | None = None) -> bool:
        """Restore the last action taken back; False when there is none, or after a new action."""
        return self._turn("redo", event_id)

    def jump(self, position: int) -> DisplayedItem:
        """Go to an item, decided or not. ``position`` counts from 0.

        Raises:
            DataError: there is no such item.
        """
        with self._lock:
            if not 0 <= position < len(self._order):
                raise DataError(
                    f"there is no item {position}",
                    where="session.jump",
                    fix=f"give a position from 0 to {len(self._order) - 1}",
                )
            self._progress.jump(position)
            return self._show(position)

    def progress(self) -> dict[str, Any]:
        """Return counts of items (done, skipped, flagged, left, total), speed and reliability.

        ``left`` leaves out what as many others as may have labelled. ``per_hour`` is over the
        latest labels, pauses cut to five minutes; None before the second. Shares, None where there
        is nothing to compare: ``agreement``, of the items that several people labelled, those on
        which all agree; ``consistency``, of the items that came back swapped, those labelled the
        same; ``gold``, of the gold items, those labelled as they should be.
        """
        with self._lock:
            return self._progress.counts()

    def close(self) -> None:
        """Let go of what was claimed, so that others need not wait. The session stays usable."""
        with self._lock:
            self._progress.release()

    # --- showing

    def _item(self, place: int) -> Pair:
        """Return the item as it was shown, else the store's copy: labels count its responses."""
        if place not in self._items:
            if len(self._items) >= CACHED:
                del self._items[next(iter(self._items))]
            stored = self.store.item(self._order.ids[place])
            self._items[place] = stored or self._order.item(place)
        return self._items[place]

    def _sides(self, place: int) -> list[int]:
        """Return the order of the responses on screen: as stored, else drawn for this person."""
        pair = self._item(place)
        sides = self.store.side(pair.id, self.annotator)
        sides = sides or draw_order(self.seed, pair.id, self.annotator, len(pair.responses))
        return sides[::-1] if self._order.kinds[place] == REPEAT else sides

    def _show(self, place: int, *, started: bool = True) -> DisplayedItem:
        """Return what the person sees; ``started``: they see it now, and think about it."""
        pair = self._item(place)
        if started:
            self._shown_at.setdefault(place, self._clock())
        token = draw_token(self.seed, self._order.slot(place), self.annotator)
        self._tokens[token] = place
        return DisplayedItem(
            position=place,
            total=len(self._order),
            prompt=pair.prompt,
            responses=[pair.responses[index] for index in self._sides(place)],
            token=token,
            **self._progress.show(place),
        )

    def _place_of(self, token: str) -> int:
        if token not in self._tokens:
            raise DataError(
                "this token was not given out by this session",
                where="session.choose",
                fix="use the token of session.current()",
            )
        return self._tokens[token]

    # --- doing

    def _act(
        self,
        kind: str,
        payload_of: Callable[[Pair, list[int]], dict[str, Any]],
        event_id: str | None,
        token: str | None,
        tags: Iterable[str] = (),
    ) -> bool:
        """Commit one action on the current item or the token's."""
        reasons = chosen_tags(tags, self.tags)
        with self._lock:
            if event_id is not None and self.store.has_event(event_id):
                return False
            place = self._progress.here() if token is None else self._place_of(token)
            if place is None:
                raise DataError(
                    "every item is decided",
                    where=f"session of {self.annotator}",
                    fix="undo, jump to an item, or give more pairs",
                )
            pair = self._item(place)
            now = self._clock()
            payload = payload_of(pair, self._sides(place))
            payload = self._payload(kind, payload, place, now)
            if reasons:
                payload["tags"] = reasons
            if self._session_event is not None and kind in DECISIONS:
                payload["session"] = self._session_event.event_id
            event = LabelEvent(kind, pair.id, self.annotator, payload, event_id or new_id(), now)
            try:
                if (
                    "session" in payload
                    and self._session_event is not None
                    and not self._session_stored
                ):
                    self.store.append(self._session_event)  # the same words have the same id
                    self._session_stored = True
                saved = self._progress.commit(event, pair)
            except DataError:
                self._items.pop(place, None)  # perhaps the store holds it in another order
                raise
            self._shown_at.pop(place, None)  # when it is shown again, its time starts anew
            return saved

    def _payload(
        self, kind: str, payload: dict[str, Any], place: int, now: float
    ) -> dict[str, Any]:
        """Return an event's payload: beside what was said, what was seen, when, and why."""
        why = self._order.why(place)
        if kind not in DECISIONS:
            return {**payload, "repeat": True} if why.get("repeat") else payload
        if self._order.kinds[place] == GOLD and kind in LABELS:
            gold = self._order.gold_label(place, self._item(place))
            why["passed"] = label_key(payload["label"]) == label_key(gold)
        sides = self._sides(place)
        seen = {"order": sides, "left": sides[0], "shown_at": self._shown_at.get(place)}
        return {**payload, **seen, **why, "decided_at": now}

    def _turn(self, kind: str, event_id: str | None) -> bool:
        """Commit an undo or a redo of this annotator's last action."""
        with self._lock:
            if event_id is not None and self.store.has_event(event_id):
                return False
            action = self._progress.action_to(kind)
            if action is None:
                return False
            payload, now = {"event": action.event_id}, self._clock()
            ident = event_id or new_id()
            event = LabelEvent(kind, action.item_id, self.annotator, payload, ident, now)
            return self._progress.commit(event)


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

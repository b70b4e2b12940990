"""What one person is shown of each place: the item as it was first shown, its sides, a token."""

from collections.abc import Callable

from workbench.data.labelling.item_order import REPEAT, Plan
from workbench.data.labelling.shown_item import Shown, draw_order, draw_token
from workbench.data.labelling.standing import Course
from workbench.data.pairs import Pair
from workbench.data.store.labels import LabelStore
from workbench.errors import DataError

CACHED = 256  # items kept as they were shown


class Showing:
    """Shows places of a plan to one person, and knows what was shown.

    Args:
        plan: what stands where.
        course: what this person has decided, flagged and noted.
        store: has the sides, and the items that were labelled before.
        annotator: to whom.
        seed: of sides and tokens.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        plan: Plan,
        course: Course,
        store: LabelStore,
        *,
        annotator: str,
        seed: int,
        clock: Callable[[], float],
    ) -> None:
        self._plan, self._course, self._store = plan, course, store
        self._annotator, self._seed, self._clock = annotator, seed, clock
        self._tokens: dict[str, int] = {}
        self._shown_at: dict[int, float] = {}
        self._items: dict[int, Pair] = {}  # place -> the item as it was shown

    def pair(self, place: int) -> Pair:
        """Return the item as it was shown, else the store's copy: labels count its responses."""
        if place not in self._items:
            if len(self._items) >= CACHED:
                del self._items[next(iter(self._items))]
            stored = self._store.item(self._plan.ids[place])
            self._items[place] = stored or self._plan.given(place)
        return self._items[place]

    def sides(self, place: int) -> list[int]:
        """Return the order of the responses on screen: as stored, else drawn for this person."""
        pair = self.pair(place)
        order = self._store.side(pair.id, self._annotator)
        order = order or draw_order(self._seed, pair.id, self._annotator, len(pair.responses))
        return order[::-1] if self._plan.kind(place) == REPEAT else order

    def show(self, place: int, *, started: bool = True) -> Shown:
        """Return what the person sees; ``started``: they see it now, and think about it."""
        pair, course = self.pair(place), self._course
        if started:
            self._shown_at.setdefault(place, self._clock())
        token = draw_token(self._seed, self._plan.slot(place), self._annotator)
        self._tokens[token] = place
        decision = course.tally.decided.get(place)
        course.tell(place)
        repeat = self._plan.kind(place) == REPEAT
        note = course.history.mark(pair.id, self._annotator, "note", repeat)
        own = decision.payload if decision else {}
        return Shown(
            position=place,
            total=len(self._plan),
            prompt=pair.prompt,
            responses=[pair.responses[index] for index in self.sides(place)],
            token=token,
            decided=own.get("choice", "skip") if decision else None,
            strength=own.get("label", {}).get("strength"),
            flagged=place in course.tally.flagged,
            note=str(note.payload["text"]) if note else "",
        )

    def shown_at(self, place: int) -> float | None:
        """Return when the place was first seen, in seconds since 1970, of this turn at it."""
        return self._shown_at.get(place)

    def place_of(self, token: str) -> int:
        """Return the place that a token stands for.

        Raises:
            DataError: it was not given out here.
        """
        if token not in self._tokens:
            raise DataError(
                "this token was not given out by this session",
                where="session.choose",
                fix="use the token of session.current()",
            )
        return self._tokens[token]

    def ended(self, place: int) -> None:
        """Take in that the turn at a place is over."""
        self._shown_at.pop(place, None)

    def forget_item(self, place: int) -> None:
        """Take the item anew next time: perhaps the store holds it in another order."""
        self._items.pop(place, None)

"""What one annotator is shown of each place: the item as it was first shown, its sides, a token."""

from collections.abc import Callable
from typing import Any

from workbench.data.labelling.item_order import REPEAT, ItemOrder
from workbench.data.labelling.shown_item import DisplayedItem, draw_order, draw_token
from workbench.data.labelling.standing import AnnotatorProgress
from workbench.data.pairs import Pair
from workbench.data.store.labels import LabelStore
from workbench.errors import DataError

CACHED = 256  # items kept as they were shown


class Screen:
    """Shows places to one annotator, and knows what was shown and since when.

    Args:
        order: what stands where.
        progress: what this annotator has decided, flagged and noted.
        store: has the sides, and the items that were labelled before.
        annotator: to whom.
        seed: of sides and tokens.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        order: ItemOrder,
        progress: AnnotatorProgress,
        store: LabelStore,
        *,
        annotator: str,
        seed: int,
        clock: Callable[[], float],
    ) -> None:
        self._order, self._progress, self._store = order, progress, store
        self._annotator, self._seed, self._clock = annotator, seed, clock
        self._tokens: dict[str, int] = {}
        self._shown_at: dict[int, float] = {}
        self._items: dict[int, Pair] = {}  # place -> the item as it was shown

    def item(self, place: int) -> Pair:
        """Return the item as it was shown, else the store's copy: labels count its responses."""
        if place not in self._items:
            if len(self._items) >= CACHED:
                del self._items[next(iter(self._items))]
            stored = self._store.item(self._order.ids[place])
            self._items[place] = stored or self._order.item(place)
        return self._items[place]

    def sides(self, place: int) -> list[int]:
        """Return the order of the responses on screen: as stored, else drawn for this person."""
        pair = self.item(place)
        sides = self._store.side(pair.id, self._annotator)
        sides = sides or draw_order(self._seed, pair.id, self._annotator, len(pair.responses))
        return sides[::-1] if self._order.kinds[place] == REPEAT else sides

    def show(self, place: int, *, started: bool = True) -> DisplayedItem:
        """Return what the person sees; ``started``: they see it now, and think about it."""
        pair = self.item(place)
        if started:
            self._shown_at.setdefault(place, self._clock())
        token = draw_token(self._seed, self._order.slot(place), self._annotator)
        self._tokens[token] = place
        return DisplayedItem(
            position=place,
            total=len(self._order),
            prompt=pair.prompt,
            responses=[pair.responses[index] for index in self.sides(place)],
            token=token,
            **self._progress.show(place),
        )

    def seen(self, place: int) -> dict[str, Any]:
        """Return the sides, and since when they are seen [s since 1970], as a label stores it."""
        sides = self.sides(place)
        return {"order": sides, "left": sides[0], "shown_at": self._shown_at.get(place)}

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

    def end_turn(self, place: int) -> None:
        """End the turn at a place: when it is shown again, its time starts anew."""
        self._shown_at.pop(place, None)

    def forget_item(self, place: int) -> None:
        """Read the item again next time: perhaps the store holds it in another order."""
        self._items.pop(place, None)

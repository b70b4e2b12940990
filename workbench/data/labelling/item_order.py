"""Which items one annotator sees, in which order: the table's, gold items between, some twice.

The order is drawn from the table, the seed and the annotator alone: a restart makes the same one.
"""

import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from workbench.data.labelling.shown_item import drawn
from workbench.data.pairs import Label, Pair, Pairs
from workbench.data.store.label_values import is_label
from workbench.errors import ConfigError, DataError

ORDERS = ("file", "random", "uncertain")
ITEM, REPEAT, GOLD = range(3)
GOLD_EVERY = 20  # items to one gold item, until all gold items have been asked
REPEAT_AFTER = (8, 24)  # an item comes back so many items later

Margins = Sequence[float | None]
MarginSource = Margins | Callable[[Pairs], Margins]


class ItemOrder:
    """The places of one annotator's session, from 0: what stands at each, and why.

    Attributes:
        ids: the item at each place.
        kinds: ITEM, REPEAT or GOLD at each place.

    Args:
        pairs: the table; an item that stands in it twice is asked once.
        annotator: for whom.
        seed: of everything drawn.
        order: as :class:`~workbench.data.labelling.session.LabelSession` takes it; so are the rest.

    Raises:
        ConfigError: an unknown order, a share outside 0 to 1, or no scores for "uncertain".
        DataError: the table is empty, the scores do not fit it, or a gold item has no label.
    """

    def __init__(
        self,
        pairs: Pairs,
        *,
        annotator: str,
        seed: int,
        order: str,
        scores: MarginSource | None,
        model: str | None,
        explore: float,
        repeats: float,
        gold: Pairs | None,
    ) -> None:
        _check(pairs, order, gold, repeats=repeats, explore=explore)
        self._pairs, self._gold, self._order, self._model = pairs, gold, order, model
        self._margins = _margins(pairs, scores) if order == "uncertain" else ()
        self._seeds = (seed, annotator)
        gold_ids = [] if gold is None else gold.ids()
        asked_as_gold = set(gold_ids)
        rows: dict[str, int] = {}  # each item once, where it first stands
        for row, ident in enumerate(pairs.ids()):
            if ident not in asked_as_gold:
                rows.setdefault(ident, row)
        self._explored: set[str] = set()  # what "uncertain" drew at random
        ids = self._ordered(rows, explore)
        between = self._between(ids, rows, repeats, gold_ids)
        self.ids: list[str] = []
        self.kinds = bytearray()
        self._rows: list[int] = []
        self._places: dict[str, int] = {}
        self._repeats: dict[str, int] = {}
        for after in range(-1, len(ids)):  # -1: where all there is are gold items
            if after >= 0:
                self._add(ids[after], rows[ids[after]], ITEM)
            for ident, row, kind in between.get(after, ()):
                self._add(ident, row, kind)

    def __len__(self) -> int:
        return len(self.ids)

    def place(self, item_id: str, repeat: bool) -> int | None:
        """Return where an item stands, the first time or the second."""
        return (self._repeats if repeat else self._places).get(item_id)

    def slot(self, place: int) -> str:
        """Return the name under which a place is claimed."""
        return self.ids[place] + (" again" if self.kinds[place] == REPEAT else "")

    def item(self, place: int) -> Pair:
        """Return the item as the table, or the gold table, has it."""
        if self.kinds[place] == GOLD and self._gold is not None:
            return self._gold[self._rows[place]]
        return self._pairs[self._rows[place]]

    def gold_label(self, place: int, pair: Pair) -> Label:
        """Return a gold item's label, in terms of ``pair``, which may order its responses anew."""
        item = self.item(place)
        label = dict(item.label or {})
        places = [item.responses.index(response) for response in pair.responses]
        if label["kind"] == "choice":
            label["winner"] = places.index(label["winner"])
        elif label["kind"] == "rank":
            label["ranks"] = [label["ranks"][n] for n in places]
        return label

    def why(self, place: int) -> dict[str, Any]:
        """Return why an item comes up, as it is stored with its label."""
        if self.kinds[place] == REPEAT:
            return {"reason": "repeat", "repeat": True}
        if self.kinds[place] == GOLD:
            return {"reason": "gold"}
        if self._order != "uncertain":
            return {"reason": self._order}
        return {
            "reason": "random" if self.ids[place] in self._explored else "uncertain",
            "model": self._model,
            "margin": self._margins[self._rows[place]],
        }

    def _add(self, ident: str, row: int, kind: int) -> None:
        (self._repeats if kind == REPEAT else self._places)[ident] = len(self.ids)
        self.ids.append(ident)
        self.kinds.append(kind)
        self._rows.append(row)

    def _ordered(self, rows: dict[str, int], explore: float) -> list[str]:
        ids = list(rows)
        if self._order == "file":
            return ids
        shuffled = list(ids)
        random.Random(drawn(*self._seeds)).shuffle(shuffled)
        if self._order == "random":
            return shuffled
        coin = random.Random(drawn(*self._seeds, "explore"))
        by_margin = iter(sorted(ids, key=lambda ident: how_sure(self._margins[rows[ident]])))
        at_random = iter(shuffled)
        ordered: dict[str, None] = {}
        while len(ordered) < len(ids):
            exploring = coin.random() < explore
            ident = next(i for i in (at_random if exploring else by_margin) if i not in ordered)
            ordered[ident] = None
            if exploring:
                self._explored.add(ident)
        return list(ordered)

    def _between(
        self, ids: list[str], rows: dict[str, int], repeats: float, gold_ids: list[str]
    ) -> dict[int, list[tuple[str, int, int]]]:
        """Return what comes after each item: repeats, spread evenly, and gold items, early.

        Returns:
            By index into ``ids``: the id, row and kind of each.
        """
        between: dict[int, list[tuple[str, int, int]]] = defaultdict(list)
        last = len(ids) - 1
        draw = random.Random(drawn(*self._seeds, "repeats"))
        count = round(repeats * len(ids))
        for n in range(count):
            source = draw.randrange(n * len(ids) // count, (n + 1) * len(ids) // count)
            after = min(last, source + draw.randint(*REPEAT_AFTER))
            between[after].append((ids[source], rows[ids[source]], REPEAT))
        draw = random.Random(drawn(*self._seeds, "gold"))
        gold = list(enumerate(gold_ids))
        draw.shuffle(gold)
        every = min(GOLD_EVERY, max(1, len(ids) // max(1, len(gold))))
        for n, (row, ident) in enumerate(gold):
            after = min(last, n * every + draw.randrange(every))
            between[after].append((ident, row, GOLD))
        return between


def how_sure(margin: float | None) -> float:
    """Return how sure a reward model is; what it could not score comes last."""
    return math.inf if margin is None or math.isnan(margin) else abs(margin)


def _margins(pairs: Pairs, scores: MarginSource | None) -> Margins:
    if scores is None:
        raise ConfigError(
            "the order 'uncertain' needs a reward model's margins",
            where="LabelSession(scores=...)",
            fix="give one margin for each row of the table, or wb.label(..., reward=run)",
        )
    margins = scores(pairs) if callable(scores) else scores
    if len(margins) != len(pairs):
        raise DataError(
            f"there are {len(margins)} margins for {len(pairs)} rows",
            where="LabelSession(scores=...)",
            fix="give one margin for each row of the table, in its order",
        )
    return margins


def _check(pairs: Pairs, order: str, gold: Pairs | None, **shares: float) -> None:
    if order not in ORDERS:
        raise ConfigError(
            f"there is no order {order!r}",
            where="LabelSession(order=...)",
            fix=f"use one of: {', '.join(ORDERS)}",
        )
    for name, share in shares.items():
        if not 0.0 <= share <= 1.0:
            raise ConfigError(
                f"{name} cannot be {share!r}",
                where=f"LabelSession({name}=...)",
                fix="give a share from 0 to 1",
            )
    if not len(pairs):
        raise DataError(
            "there is nothing to label",
            where="LabelSession(pairs)",
            fix="give a table with at least one item",
        )
    for row, label in enumerate([] if gold is None else gold.labels()):
        if not is_label(label):
            raise DataError(
                "a gold item has no label to check answers by",
                where=f"LabelSession(gold=...), row {row}",
                fix="give items with a choice, a tie, both_bad or a ranking",
            )

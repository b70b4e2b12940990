"""Which items one person sees, in which order: the table's, gold items among them, some twice.

The plan is drawn from the table, the seed and the person alone, so a restart makes the same one.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.data.labelling.shown_item import drawn
from workbench.data.pairs import Pair, Pairs
from workbench.data.store.label_values import is_label
from workbench.errors import ConfigError, DataError

ORDERS = ("file", "random", "uncertain")
ITEM, REPEAT, GOLD = range(3)
GOLD_EVERY = 20  # items to one gold item, until all gold items have been asked
REPEAT_AFTER = (8, 24)  # an item comes back so many items later

Extra = dict[int, list[tuple[str, int, int]]]  # after a place: id, row and kind of what comes
Scores = Sequence[float | None] | Callable[[Pairs], Sequence[float | None]]


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """How a person's items are chosen and ordered.

    Attributes:
        order: "file", "random" or "uncertain": the smallest margins of a reward model first.
        scores: a margin for each row of the table (best less second-best score), or a function of
            the table that returns them; for "uncertain". [reward points]
        model: which reward model they are from; stored with each label.
        explore: the share of places that "uncertain" fills at random.
        repeats: the share of items that come back swapped.
        gold: items with known labels, asked among the others.
    """

    order: str = "file"
    scores: Scores | None = None
    model: str | None = None
    explore: float = 0.1
    repeats: float = 0.0
    gold: Pairs | None = None


class Plan:
    """The places of one person's walk: what stands at each, and why.

    Args:
        pairs: the table; an item that stands in it twice is asked once.
        wishes: the order, and what is put among the items.
        seed: of everything drawn.
        annotator: for whom.

    Raises:
        ConfigError: an unknown order, a share outside 0 to 1, or no scores for "uncertain".
        DataError: the table is empty, the scores do not fit it, or a gold item has no label.
    """

    def __init__(self, pairs: Pairs, wishes: Wishes, *, seed: int, annotator: str) -> None:
        _check(pairs, wishes)
        self._pairs, self._wishes, self._drawn = pairs, wishes, (seed, annotator)
        self._gold = wishes.gold
        self.margins = _margins(pairs, wishes)
        gold_ids = wishes.gold.ids() if wishes.gold is not None else []
        asked_as_gold = set(gold_ids)
        rows: dict[str, int] = {}  # each item once, where it first stands
        for row, ident in enumerate(pairs.ids()):
            if ident not in asked_as_gold:
                rows.setdefault(ident, row)
        self._explored: set[str] = set()
        ids = self._ordered(list(rows), rows)
        self.ids: list[str] = []
        self.rows: list[int] = []
        self.kinds = bytearray()
        self._fill(ids, rows, self._extra(ids, rows, gold_ids))
        self._place: dict[str, int] = {}
        self._again: dict[str, int] = {}
        for place, (ident, kind) in enumerate(zip(self.ids, self.kinds, strict=True)):
            (self._again if kind == REPEAT else self._place)[ident] = place

    def __len__(self) -> int:
        return len(self.ids)

    def place(self, item_id: str, repeat: bool) -> int | None:
        """Return where an item stands, the first time or the second."""
        return (self._again if repeat else self._place).get(item_id)

    def kind(self, place: int) -> int:
        """Return whether an item, a repeat or a gold item stands at a place."""
        return self.kinds[place]

    def slot(self, place: int) -> str:
        """Return the name under which a place is claimed."""
        return self.ids[place] + (" again" if self.kinds[place] == REPEAT else "")

    def given(self, place: int) -> Pair:
        """Return the item as it was given."""
        if self.kinds[place] == GOLD and self._gold is not None:
            return self._gold[self.rows[place]]
        return self._pairs[self.rows[place]]

    def truth(self, place: int, pair: Pair) -> dict[str, Any]:
        """Return a gold item's label, in terms of ``pair``, which may order its responses anew."""
        given = self.given(place)
        label = dict(given.label or {})
        places = [given.responses.index(response) for response in pair.responses]
        if label["kind"] == "choice":
            label["winner"] = places.index(label["winner"])
        elif label["kind"] == "rank":
            label["ranks"] = [label["ranks"][n] for n in places]
        return label

    def why(self, place: int) -> dict[str, Any]:
        """Return why an item comes up, as it is stored with its label."""
        kind = self.kinds[place]
        if kind == REPEAT:
            return {"reason": "repeat", "repeat": True}
        if kind == GOLD:
            return {"reason": "gold"}
        if self._wishes.order != "uncertain":
            return {"reason": self._wishes.order}
        explored = self.ids[place] in self._explored
        return {
            "reason": "random" if explored else "uncertain",
            "model": self._wishes.model,
            "margin": self.margins[self.rows[place]],
        }

    def _fill(self, ids: list[str], rows: dict[str, int], extra: Extra) -> None:
        done = 0
        for after in sorted(extra):
            part, done = ids[done : after + 1], after + 1
            self._add(part, [rows[ident] for ident in part], ITEM)
            for ident, row, kind in extra[after]:
                self._add([ident], [row], kind)
        part = ids[done:]
        self._add(part, [rows[ident] for ident in part], ITEM)

    def _add(self, ids: list[str], rows: list[int], kind: int) -> None:
        self.ids += ids
        self.rows += rows
        self.kinds += bytes([kind]) * len(ids)

    def _ordered(self, ids: list[str], rows: dict[str, int]) -> list[str]:
        order = self._wishes.order
        if order == "file":
            return ids
        shuffled = list(ids)
        random.Random(drawn(*self._drawn)).shuffle(shuffled)
        if order == "random":
            return shuffled
        coin = random.Random(drawn(*self._drawn, "explore"))
        by_margin = iter(sorted(ids, key=lambda ident: _distance(self.margins[rows[ident]])))
        at_random = iter(shuffled)
        taken: dict[str, None] = {}
        while len(taken) < len(ids):
            explore = coin.random() < self._wishes.explore
            ident = next(i for i in (at_random if explore else by_margin) if i not in taken)
            taken[ident] = None
            if explore:
                self._explored.add(ident)
        return list(taken)

    def _extra(self, ids: list[str], rows: dict[str, int], gold_ids: list[str]) -> Extra:
        """Return what is put in after each place: repeats, spread evenly, and gold items, early."""
        extra: Extra = {}
        last = len(ids) - 1
        draw = random.Random(drawn(*self._drawn, "repeats"))
        repeats = round(self._wishes.repeats * len(ids))
        for n in range(repeats):
            source = draw.randrange(n * len(ids) // repeats, (n + 1) * len(ids) // repeats)
            after = min(last, source + draw.randint(*REPEAT_AFTER))
            extra.setdefault(after, []).append((ids[source], rows[ids[source]], REPEAT))
        draw = random.Random(drawn(*self._drawn, "gold"))
        asked = list(enumerate(gold_ids))
        draw.shuffle(asked)
        every = min(GOLD_EVERY, max(1, len(ids) // max(1, len(asked))))
        for n, (row, ident) in enumerate(asked):
            after = min(last, n * every + draw.randrange(every))
            extra.setdefault(after, []).append((ident, row, GOLD))
        return extra


def _distance(margin: float | None) -> float:
    """Return how sure a reward model is; what it could not score comes last."""
    return math.inf if margin is None or math.isnan(margin) else abs(margin)


def _margins(pairs: Pairs, wishes: Wishes) -> Sequence[float | None]:
    if wishes.order != "uncertain":
        return ()
    if wishes.scores is None:
        raise ConfigError(
            "the order 'uncertain' needs a reward model's margins",
            where="LabelSession(scores=...)",
            fix="give one margin for each row of the table, or wb.label(..., reward=run)",
        )
    margins = wishes.scores(pairs) if callable(wishes.scores) else wishes.scores
    if len(margins) != len(pairs):
        raise DataError(
            f"there are {len(margins)} margins for {len(pairs)} rows",
            where="LabelSession(scores=...)",
            fix="give one margin for each row of the table, in its order",
        )
    return margins


def _check(pairs: Pairs, wishes: Wishes) -> None:
    if wishes.order not in ORDERS:
        raise ConfigError(
            f"there is no order {wishes.order!r}",
            where="LabelSession(order=...)",
            fix=f"use one of: {', '.join(ORDERS)}",
        )
    for name, share in (("repeats", wishes.repeats), ("explore", wishes.explore)):
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
    for row, label in enumerate(wishes.gold.labels() if wishes.gold is not None else ()):
        if not is_label(label):
            raise DataError(
                "a gold item has no label to check answers by",
                where=f"LabelSession(gold=...), row {row}",
                fix="give items with a choice, a tie, both_bad or a ranking",
            )

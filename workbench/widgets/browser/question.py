"""What a browser can be asked: a search, filters and an order."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.widgets.kit.wire import incoming

LABEL_KINDS = ("unlabelled", "choice", "tie", "both_bad", "other")
STATES = ("all", "labelled", *LABEL_KINDS, "yours", "not_yours")
SORTS = (
    *("row", "prompt", "first", "second", "label", "yours", "source", "gap"),
    *("margin", "uncertain", "agreement"),
)

Range = tuple[float | None, float | None]
"""From and to, both included; None is no bound."""

ANY: Range = (None, None)


@dataclass(frozen=True, slots=True)
class Question:
    """What a table shows: a search, filters and an order.

    Attributes:
        query: text that a row must hold, in any case.
        state: one of ``STATES`` ("yours": labelled in the store).
        source: the name of a source; empty for all.
        gap: how much longer the first answer is than the second. [characters]
        margin: the reward model's score of the better answer minus the other's. [score]
        agreement: share of the annotators who chose what the majority chose, 0 to 1.
        disagrees: only rows in which the reward model prefers the answer that the label does not.
        sort: one of ``SORTS``; "first" and "second" are lengths of those answers, "uncertain" is
            the reward margin without its sign.
        descending: the last first.
    """

    query: str = ""
    state: str = "all"
    source: str = ""
    gap: Range = ANY
    margin: Range = ANY
    agreement: Range = ANY
    disagrees: bool = False
    sort: str = "row"
    descending: bool = False

    @property
    def wanted(self) -> str:
        """The text searched for, as it is compared."""
        return self.query.strip().casefold()


def question_from(values: Mapping[str, Any]) -> Question:
    """Read a question from the page; what it cannot mean falls back to the default."""
    state, sort = str(values.get("state")), str(values.get("sort"))
    return Question(
        query=incoming(values.get("query"), 500),
        state=state if state in STATES else "all",
        source=incoming(values.get("source"), 500),
        gap=_range(values.get("gap")),
        margin=_range(values.get("margin")),
        agreement=_range(values.get("agreement")),
        disagrees=bool(values.get("disagrees")),
        sort=sort if sort in SORTS else "row",
        descending=bool(values.get("descending")),
    )


def _range(value: Any) -> Range:
    low, high = value if isinstance(value, list | tuple) and len(value) == 2 else ANY
    return _bound(low), _bound(high)


def _bound(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and math.isfinite(value) else None

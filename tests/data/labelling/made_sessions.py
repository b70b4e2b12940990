"""A table to label, a clock that stands until it is moved, and what is on screen."""

from workbench.data.labelling.shown_item import DisplayedItem
from workbench.data.pairs import Pairs
from workbench.data.reading.formats import load_pairs


def table(size: int = 4) -> Pairs:
    rows = [{"prompt": f"q{n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(size)]
    return load_pairs(rows)


def said(shown: DisplayedItem | None) -> str:
    assert shown is not None
    return shown.prompt[0]["content"]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

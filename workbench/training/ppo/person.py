"""A person in the reward's place: which of two answers is better is asked in a label store.

The store lies in the run's folder. It is the only thing that a waiting run knows: resumed, the
run draws the same answers, finds what was said of them and asks for the rest.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from workbench.data.messages import Message
from workbench.data.pairs import Pair
from workbench.data.store.label_events import DECISIONS
from workbench.data.store.labels import LabelStore
from workbench.settings import PERSON_STORE


class Person:
    """Whoever labels in a run's store.

    Args:
        folder: the run's.
    """

    name = "a person"

    def __init__(self, folder: Path) -> None:
        self.store = LabelStore(folder / PERSON_STORE)

    def ask(self, prompt: list[Message], answers: Sequence[str], seen_in: str) -> str:
        """Put two answers into the queue, once; return the id of the item."""
        pair = Pair.make(prompt, [[Message(role="assistant", content=text)] for text in answers])
        self.store.send(pair, annotator="policy", seen_in=seen_in)
        return pair.id

    def said(self, items: Collection[str]) -> dict[str, str | None]:
        """Of these items that are judged, the better answer's text, as whoever judged last has it.

        None: a tie, both bad, or skipped.
        """
        found: dict[str, str | None] = {}
        for event in sorted(self.store.decisions(), key=lambda event: event.seq):
            if event.kind in DECISIONS and event.item_id in items:
                label: dict[str, Any] = event.payload.get("label", {})
                winner: int | None = label.get("winner")
                item = None if winner is None else self.store.item(event.item_id)
                better = None if item is None or winner is None else item.responses[winner]
                found[event.item_id] = None if better is None else str(better[-1]["content"])
        return found

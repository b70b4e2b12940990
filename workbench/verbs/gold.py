"""The sample world's judge: labels in a person's place, and the gold scores of answers."""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workbench.progress import working
from workbench.verbs.load_data import as_pairs
from workbench.world.judge import gold_parts, gold_score, slip_chance

if TYPE_CHECKING:
    from workbench.data.messages import Message
    from workbench.data.store.labels import StoreOrPath


@working("gold_labels")
def gold_labels(pairs: Any, store: "StoreOrPath", annotator: str = "gold", seed: int = 0) -> int:
    """Let the sample world's judge label in a person's place, with the slips of the sample data.

    The labels go through a ``LabelSession`` like anybody's: blind, sides drawn, an event each. Of
    two answers whose gold scores differ by d, the worse one is called better with the chance
    1 / (1 + exp(d / 0.115)), as in ``pairs_train``.

    Args:
        pairs: what :func:`load_pairs` reads, with prompts of the sample world.
        store: where the labels go, a label store or its path.
        annotator: under which name.
        seed: of the sides and the slips.

    Returns:
        How many it labelled; what is decided already is left.
    """
    from workbench.data.labelling.session import LabelSession
    from workbench.data.store.labels import as_store

    store = as_store(store, write=True)
    session = LabelSession(as_pairs(pairs), store, annotator=annotator, seed=seed)
    lots, done = random.Random(f"{seed} slips"), 0
    while (shown := session.current()) is not None and shown.decided is None:
        left, right = (gold_score(shown.prompt, side) for side in (shown.left, shown.right))
        slips = lots.random() < slip_chance(abs(left - right))
        session.choose("left" if (left >= right) != slips else "right", token=shown.token)
        done += 1
    session.close()
    return done


def gold_scores(prompts: "Sequence[list[Message]]", responses: Sequence[str]) -> list[float] | None:
    """The sample world's gold score of each answer; None where a prompt is from outside of it."""
    parts = [gold_parts(*pair) for pair in zip(prompts, responses, strict=True)]
    return None if any(part.kind == "unknown" for part in parts) else [part.gold for part in parts]

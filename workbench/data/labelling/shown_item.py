"""One item as a person sees it, how its sides are drawn, and what each action on it stores."""

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workbench.data.import_report import texts_table
from workbench.data.messages import Message, plain_text
from workbench.data.store.label_values import RankedPlaces, in_words, ranked
from workbench.errors import ConfigError, DataError

SIDES = ("left", "right")
CHOICES = (*SIDES, "tie", "both_bad")
LONGEST = 1_000  # characters of a text that are shown where no widget is


@dataclass(frozen=True, slots=True)
class DisplayedItem:
    """What a person sees of one item. ``decided`` is this person's own earlier answer."""

    position: int  # counts from 0
    total: int
    prompt: list[Message]
    responses: list[list[Message]]  # in the order shown
    token: str  # opaque: hand it back with the choice
    decided: str | int | None = None  # left, right, tie, both_bad, a place, a ranking, or skip
    strength: int | None = None
    flagged: bool = False
    note: str = ""
    tags: tuple[str, ...] = ()  # the reasons this person gave

    @property
    def left(self) -> list[Message]:
        """The response on the left."""
        return self.responses[0]

    @property
    def right(self) -> list[Message]:
        """The response on the right."""
        return self.responses[1]

    def _repr_html_(self) -> str:
        """In a notebook: the texts side by side, in this person's order, and nothing else."""
        numbered = [f"answer {n + 1}" for n in range(len(self.responses))]
        names = SIDES if len(self.responses) == 2 else numbered
        texts = {"prompt": plain_text(self.prompt)}
        texts |= dict(zip(names, map(plain_text, self.responses), strict=True))
        return texts_table([texts], LONGEST)


def drawn(*parts: object) -> int:
    """Return a number that depends on the parts alone: the same on every machine and every day."""
    text = "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def draw_order(seed: int, item_id: str, annotator: str, responses: int) -> list[int]:
    """Return the order in which one person sees an item's responses."""
    order = list(range(responses))
    random.Random(drawn(seed, annotator, item_id)).shuffle(order)
    return order


def draw_token(seed: int, slot: str, annotator: str) -> str:
    """Return an opaque name for a place."""
    return f"{drawn(seed, annotator, slot, 'token'):016x}"


def level_names(strength: int | Sequence[str]) -> tuple[str, ...]:
    """Return the names of the strengths to ask for, weakest first; none where it is not asked.

    Args:
        strength: how many levels, or their names.

    Raises:
        ConfigError: more levels than there are digits, or only one.
    """
    if isinstance(strength, int):
        names = _LEVELS.get(strength, tuple(map(str, range(1, strength + 1))))
    else:
        names = tuple(strength)
    if len(names) == 1 or len(names) > 9:
        raise ConfigError(
            f"a strength of {len(names)} levels cannot be asked for",
            where="LabelSession(strength=...)",
            fix="give 0 (off), or 2 to 9 levels, or their names",
        )
    return names


_LEVELS: dict[int, tuple[str, ...]] = {
    0: (),
    2: ("slightly", "clearly"),
    3: ("slightly", "clearly", "far"),
}


def check_choice(choice: str | int, strength: int | None, levels: int = 0) -> None:
    """Hold a choice to what there is. ``levels``: how many strengths there are, 0 for any.

    Raises:
        ConfigError: there is no such choice, or the strength does not fit it.
    """
    if choice not in CHOICES and not isinstance(choice, int):
        raise ConfigError(
            f"there is no choice {choice!r}",
            where="session.choose",
            fix=f"use one of: {', '.join(CHOICES)}, or a place on screen from 0",
        )
    top = levels or math.inf
    unfit = choice in ("tie", "both_bad")
    if strength is not None and (unfit or not 1 <= strength <= top):
        raise ConfigError(
            f"a strength of {strength} does not fit {choice!r}",
            where="session.choose",
            fix=f"give 1 {f'to {levels}' if levels else 'or more'}, with a winner, or leave it out",
        )


def _place_of(choice: str | int, responses: int) -> int | None:
    """Return the place on screen that was chosen, None for tie and both bad."""
    place = SIDES.index(choice) if choice in SIDES else choice
    if not isinstance(place, int):
        return None
    if not 0 <= place < responses:
        raise ConfigError(
            f"there is no response at place {place}",
            where="session.choose",
            fix=f"give a place from 0 to {responses - 1}",
        )
    return place


def choice_payload(choice: str | int, strength: int | None, order: list[int]) -> dict[str, Any]:
    """Return a choice as it is stored: counting the item's responses, and as it was said.

    Raises:
        ConfigError: there is no response at the place chosen.
    """
    place = _place_of(choice, len(order))
    if place is None:
        return {"label": {"kind": choice}, "choice": choice}
    label = {"kind": "choice", "winner": order[place], "strength": strength}
    return {"label": label, "choice": SIDES[place] if len(order) == 2 else place}


def edit_payload(
    choice: str | int, text: str, responses: list[list[Message]], order: list[int]
) -> dict[str, Any]:
    """Return an edit as it is stored: the choice of an answer, and its better wording.

    Raises:
        DataError: the text is empty, or as it was.
    """
    payload = choice_payload(choice, None, order)
    before = responses[int(payload["label"]["winner"])][-1]["content"]
    if not text.strip() or text == before:
        raise DataError(
            "nothing was changed" if text.strip() else "the better answer is empty",
            where="session.edit",
            fix="write what the answer should say, or label it as it is",
        )
    return {**payload, "text": text}


def ranking_payload(places: RankedPlaces, order: list[int]) -> dict[str, Any]:
    """Return a ranking as it is stored: a rank for each of the item's responses, and as said."""
    label = ranked(places, order)
    if label["kind"] == "choice":
        return {"label": label, "choice": SIDES[order.index(label["winner"])]}
    return {"label": label, "choice": label["kind"] if label["kind"] == "tie" else in_words(places)}

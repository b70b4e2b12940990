"""What readers hand on: rows as prompts, answers and labels, and the words they build them from."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, cast

from workbench.data.messages import Message, Unusable, as_messages, turn_key
from workbench.data.pairs import Label
from workbench.data.written_values import written_value

# A reader takes out of its row what it reads (`row.pop`); what is left is the item's `meta`.
Row = dict[str, Any]

FIRST_WON: Label = {"kind": "choice", "winner": 0, "strength": None}


class Parsed(NamedTuple):
    """One item. ``meta`` holds every column that the reader did not use."""

    prompt: list[Message]
    responses: list[list[Message]]
    label: Label | None
    meta: dict[str, Any]
    source: dict[str, Any] | None = None
    left_out: dict[str, int] | None = None  # what of the row is not in the item: reason -> answers
    unread: frozenset[str] = frozenset()  # fields within the row's objects that are not in the item
    read_as: tuple[str, str] | None = None  # a person's own label column, and what its value says


class Tree(NamedTuple):
    """Several items from one row, and what of it is in none of them."""

    items: list[Parsed]
    left_out: dict[str, int]  # reason -> replies
    unread: frozenset[str] = frozenset()


class Part(NamedTuple):
    """One answer of an item whose other answers stand in rows of their own."""

    prompt: list[Message]
    response: list[Message]
    score: float  # higher is better
    about: dict[str, Any]
    meta: dict[str, Any]


class Format(NamedTuple):
    """A format: its name, the columns it needs (in lower case), and the reader of a row.

    A reader returns one item, a ``Tree`` of them, or a ``Part``; parts of one prompt are put
    together by ``join``. ``asks`` names the formats of which a person must choose one, where the
    rows hold more than one label.
    """

    name: str
    needs: tuple[str, ...]
    parse: Callable[[Row], Parsed | Tree | Part]
    matches: Callable[[Row], bool] = lambda _: True  # of rows that have all the needed columns
    join: Callable[[list[Part]], Parsed] | None = None
    auto: bool = True  # whether it is looked for by the columns
    asks: tuple[str, ...] = ()


class RatedAnswer(NamedTuple):
    """One of many answers: what is said, what is known about it, and its rank or score."""

    response: list[Message]
    about: dict[str, Any]
    value: float | None


def number(value: Any) -> float | None:
    """Return a number, also one written as text (CSV), else None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        parsed = float(value)
    except (ValueError, OverflowError):  # no number at all, or a whole one past every float
        return None
    return parsed if abs(parsed) < float("inf") else None


def flag(value: Any) -> bool | None:
    """Return a truth value, also one written as a number or as text (CSV), else None."""
    if isinstance(value, str):
        value = {"true": 1, "false": 0}.get(value.strip().lower(), value)
    as_number = float(value) if isinstance(value, bool) else number(value)
    return bool(as_number) if as_number in (0.0, 1.0) else None


def mapping(value: Any) -> dict[str, Any]:
    """Return a nested object, also one that a cell spells; an empty one where there is none."""
    value = unpacked(value, ("{",))
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def listed(value: Any, name: str) -> list[Any]:
    """Return a nested list, also one that a cell spells.

    Raises:
        Unusable: it is not a list.
    """
    value = unpacked(value, ("[",))
    if not isinstance(value, list):
        raise Unusable(f"{name} is not a list")
    return cast("list[Any]", value)


def unpacked(value: Any, starts: tuple[str, ...]) -> Any:
    """Return the list or object that a cell spells, where it starts as such; else what it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(starts):
        return value
    return None if value.strip() == "null" else written_value(value)


def rest(row: Row, used: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the columns that were not used and hold something."""
    return {name: value for name, value in row.items() if name not in used and value is not None}


def both_of(meta: dict[str, Any], nested: dict[str, Any]) -> dict[str, Any]:
    """Return what a row says and what an object in it says; the object's, where both say it.

    What the row says under a name that is then taken stands as ``name (row)``.
    """
    taken = {f"{key} (row)": value for key, value in meta.items() if key in nested}
    return {**meta, **taken, **nested} if nested else meta


def take_prompt(row: Row, column: str) -> list[Message]:
    """Take the prompt out of its column; plain text is the user's."""
    return as_messages(row.pop(column, None), "user")


def take_answers(row: Row, *columns: str) -> list[list[Message]]:
    """Take the answers out of their columns; plain text is the assistant's."""
    return [as_messages(row.pop(column, None), "assistant") for column in columns]


def take_numbers(row: Row, *columns: str) -> list[float | None]:
    """Take the numbers out of their columns, None where there is none; the rest stays there."""
    numbers = [number(row.get(column)) for column in columns]
    for column, value in zip(columns, numbers, strict=True):
        if value is not None:
            del row[column]
    return numbers


def take_flag(row: Row, column: str) -> bool | None:
    """Take a truth value out of its column; what is none stays there."""
    value = flag(row.get(column))
    if value is not None:
        del row[column]
    return value


def take_name(row: Row, column: str) -> str | None:
    """Take a name out of its column; what is no text stays there."""
    name = row.get(column)
    return row.pop(column) if isinstance(name, str) else None


def about(
    model: Any = None,
    scores: dict[str, Any] | None = None,
    flags: dict[str, Any] | None = None,
    others: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what is known about an answer: its model, scores by name, flags, and the rest."""
    known: dict[str, Any] = {"model": model} if isinstance(model, str) and model else {}
    for name, values in (("scores", scores), ("flags", flags), ("fields", others)):
        present = {key: value for key, value in (values or {}).items() if value is not None}
        if present:
            known[name] = present
    return known


def with_about(meta: dict[str, Any], known: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return ``meta`` with what is known about each response, in their order."""
    return both_of(meta, {"responses": list(known)}) if any(known) else meta


def choice(winner: int, strength: float | None = None) -> Label:
    """Return the label by which a response won, ``strength`` as the data state it."""
    return {"kind": "choice", "winner": winner, "strength": strength}


def named(value: Any, outcomes: dict[str, Label]) -> Label:
    """Return the label that a word in a column stands for.

    Raises:
        Unusable: it is none of the words.
    """
    label = outcomes.get(str(value).strip().lower())
    if label is None:
        raise Unusable(f"the label is none of {', '.join(outcomes)}")
    return dict(label)


def signed(value: Any, limit: int) -> Label:
    """Return the label of a signed preference: below 0 the first is better, 0 is a tie.

    Raises:
        Unusable: it is no number from ``-limit`` to ``limit``.
    """
    preference = number(value)
    if preference is None or abs(preference) > limit:
        raise Unusable(f"the preference is not a number from -{limit} to {limit}")
    return choice(int(preference > 0), abs(preference)) if preference else {"kind": "tie"}


def by_scores(scores: Sequence[float | None]) -> Label:
    """Return the label by which the higher score is better; equal scores are a tie.

    Raises:
        Unusable: fewer than two answers have a score.
    """
    known = _known(scores, "score")
    if len(known) == 1:
        return {"kind": "tie", "scores": list(scores)}
    if len(scores) == 2:
        return {**choice(scores.index(max(known))), "scores": list(scores)}
    return {"kind": "scores", "scores": list(scores)}


def by_ranks(ranks: Sequence[float | None]) -> Label:
    """Return the label by which the lower rank is better; equal ranks are a tie.

    The ranks of three answers or more are numbered anew from 1, without gaps.

    Raises:
        Unusable: fewer than two answers have a rank.
    """
    known = sorted(_known(ranks, "rank"))
    if len(known) == 1:
        return {"kind": "tie"}
    if len(ranks) == 2:
        return choice(ranks.index(known[0]))
    return {
        "kind": "rank",
        "ranks": [None if rank is None else known.index(rank) + 1 for rank in ranks],
    }


def _known(values: Sequence[float | None], name: str) -> set[float]:
    known = [value for value in values if value is not None]
    if len(known) < 2:
        raise Unusable(f"fewer than two answers have a {name}")
    return set(known)


def several(
    prompt: list[Message],
    answers: Iterable[RatedAnswer],
    label_of: Callable[[Sequence[float | None]], Label],
    meta: dict[str, Any],
) -> Parsed:
    """Return the item of many answers; those that are empty or repeated are left out and counted.

    Raises:
        Unusable: fewer than two are left, or they have no label.
    """
    kept: dict[str, RatedAnswer] = {}
    left_out: dict[str, int] = {}
    for answer in answers:
        key = turn_key(answer.response)
        why = ""
        if not any(message["content"].strip() for message in answer.response):
            why = "an answer is empty"
        elif key in kept:
            why = "the answers are the same text"
        if why:
            left_out[why] = left_out.get(why, 0) + 1
        else:
            kept[key] = answer
    if len(kept) < 2:
        raise Unusable(next(iter(left_out), "there are fewer than two answers"))
    label = label_of([answer.value for answer in kept.values()])
    known = [answer.about for answer in kept.values()]
    responses = [answer.response for answer in kept.values()]
    return Parsed(prompt, responses, label, with_about(meta, known), left_out=left_out)

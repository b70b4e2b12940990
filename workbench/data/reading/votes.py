"""Rows that several annotators gave of one item: one item, its votes, the label of the majority."""

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from workbench.data.comparisons import NO_PREFERENCE, places
from workbench.data.messages import turn_key
from workbench.data.pairs import Label, Pair
from workbench.data.reading.parsed import Parsed, both_of
from workbench.data.store.label_values import label_key
from workbench.data.store.majority import majority, mean_ranking
from workbench.errors import check_option

EVEN_SPLITS = ("tie", "none")

_WHO = {
    *("annotator", "worker", "crowdworker", "rater", "labeler", "labeller", "evaluator"),
    *("reviewer", "coder", "participant", "judge", "user", "expert"),
}
_PERSON = re.compile(r"(.*?)(?:id|name|hash|uuid)?")
_BY = {"annotatedby", "labeledby", "labelledby", "ratedby", "judgedby", "evaluatedby"}


class Voter(NamedTuple):
    """Who gave a row its label, and the column that says so ("" for the label itself)."""

    name: str
    column: str


class Vote(NamedTuple):
    """A later row of an item. Its label is for the answers in the order of their keys."""

    voter: Voter
    label: Label
    outcome: str  # what the label says, free of the order of the answers
    meta: dict[str, Any]
    row: int


@lru_cache(maxsize=256)
def annotator_column(columns: tuple[str, ...]) -> str | None:
    """Return the column that names who labelled a row, such as annotator or worker_id."""
    for column in columns:
        plain = re.sub(r"[\W_]", "", str(column)).lower()
        person = _PERSON.fullmatch(plain)
        if plain in _BY or (person is not None and person[1] in _WHO):
            return column
    return None


def voter_of(parsed: Parsed) -> Voter | None:
    """Return who gave an item its label, None where the row does not say so."""
    label = parsed.label
    if label is None:
        return None
    if "annotator" in label and isinstance(label["annotator"], str):
        return Voter(label["annotator"], "")
    if not parsed.meta:  # by far the most
        return None
    column = annotator_column(tuple(parsed.meta))
    who = None if column is None else parsed.meta[column]
    if column is None or isinstance(who, bool) or not isinstance(who, str | int | float):
        return None
    return Voter(str(who), column) if str(who).strip() else None


def in_order(label: Label, order: Sequence[int]) -> Label:
    """Return a label for the same answers in another order: ``order[n]`` is now at place n."""
    moved = dict(label)
    if label["kind"] == "choice":
        moved["winner"] = list(order).index(label["winner"])
    for name in ("ranks", "scores"):
        if isinstance(label.get(name), list) and len(label[name]) == len(order):
            moved[name] = [label[name][place] for place in order]
    return moved


def order_of(keys: Sequence[str]) -> list[int]:
    """Return the places of answers in the order of their keys, which every row shares."""
    return sorted(range(len(keys)), key=keys.__getitem__)


def with_votes(item: Pair, first: Voter, votes: list[Vote], even_split: str) -> tuple[Pair, bool]:
    """Return the item of a first row and the votes after it; and whether they are evenly split.

    ``meta["votes"]`` has one entry a row: ``annotator``, ``label``, and what that row alone says.
    """
    order = order_of([turn_key(response) for response in item.responses])
    back = [order.index(place) for place in range(len(order))]
    labels = [item.label or {}, *(in_order(vote.label, back) for vote in votes)]
    metas = [item.meta, *(vote.meta for vote in votes)]
    voters = [first, *(vote.voter for vote in votes)]
    common = {
        name: value
        for name, value in item.meta.items()
        if all(name in meta and meta[name] == value for meta in metas)
    }
    entries: list[dict[str, Any]] = []
    for voter, label, meta in zip(voters, labels, metas, strict=True):
        own = {
            name: value
            for name, value in meta.items()
            if name not in common and name != voter.column
        }
        entries.append({"annotator": voter.name, "label": label, **({"meta": own} if own else {})})
    label = joint_label(labels, len(item.responses))
    leaders = Counter(map(_outcome_of, labels)).most_common(2)
    even = label["kind"] == "tie" and len(leaders) == 2 and leaders[0][1] == leaders[1][1]
    source = item.source
    if "row" in source:
        source = {**source, "rows": [source["row"], *(vote.row for vote in votes)]}
        del source["row"]
    pair = Pair(
        item.id,
        item.prompt,
        item.responses,
        None if even and even_split == "none" else label,
        source,
        both_of(common, {"votes": entries}),
    )
    return pair, even


def joint_label(labels: list[Label], responses: int) -> Label:
    """Return what the majority says, with ``annotators`` and ``agreement``.

    Of rankings and scores the mean rank counts; an answer that somebody left out is their last.
    """
    if all(label["kind"] in ("choice", *NO_PREFERENCE) for label in labels):
        label = majority(labels)
        won = [one for one in labels if label_key(one) == label_key(label)]
        margins = [one["margin"] for one in won if isinstance(one.get("margin"), int | float)]
        return {**label, "margin": sum(margins) / len(margins)} if margins else label
    return mean_ranking([_as_ranking(label, responses) for label in labels])


def _as_ranking(label: Label, responses: int) -> Label:
    if label["kind"] not in ("rank", "scores"):
        return label
    levels = places(label, responses)
    ranks = [len(levels) + 1] * responses
    for rank, level in enumerate(levels, start=1):
        for place in level:
            ranks[place] = rank
    return {"kind": "rank", "ranks": ranks}


def check_even_split(even_split: str) -> None:
    """Refuse a way to treat evenly split votes that there is not.

    Raises:
        ConfigError: there is no such choice.
    """
    check_option(even_split, EVEN_SPLITS, "even_split")


def _outcome_of(label: Label) -> str:
    return repr([label.get(name) for name in ("kind", "winner", "ranks", "scores")])

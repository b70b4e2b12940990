"""Pairs to train on: each item with the majority of its labels, and what people reworded."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from workbench.data.comparisons import NO_PREFERENCE
from workbench.data.messages import Message
from workbench.data.pairs import Cells, Label, Pair, cells_of, pair_of
from workbench.data.store.label_events import LabelEvent
from workbench.data.store.label_values import label_key, winner_of
from workbench.json_lines import dumps


@dataclass(slots=True)
class Votes:
    """What people said of one item: a label each, and the answers they reworded."""

    labels: list[Label] = field(default_factory=lambda: [])
    edits: list[LabelEvent] = field(default_factory=lambda: [])


def votes_of(decisions: Iterable[LabelEvent]) -> dict[str, Votes]:
    """Return the labels that hold by item; repeats and gold items have no vote.

    What was reworded when an item came back swapped is kept all the same.
    """
    votes: dict[str, Votes] = defaultdict(Votes)
    for event in decisions:
        if event.counts:
            tags = {"tags": event.payload["tags"]} if "tags" in event.payload else {}
            votes[event.item_id].labels.append({**event.payload["label"], **tags})
        if event.kind == "edit" and (event.counts or event.repeat):
            votes[event.item_id].edits.append(event)
    return votes


def reliability(decisions: Iterable[LabelEvent]) -> dict[str, list[int]]:
    """Count per person: labels, skips, repeats, of these consistent, gold items, of these passed.

    A repeat is counted where the item's first label holds too.
    """
    counts: dict[str, list[int]] = {}
    first: dict[tuple[str, str], LabelEvent] = {}
    repeats: list[LabelEvent] = []
    for event in decisions:
        row = counts.setdefault(event.annotator, [0] * 6)
        if event.kind == "skip":
            row[1] += 1
        elif event.repeat:
            repeats.append(event)
        elif event.payload.get("reason") == "gold":
            row[4] += 1
            row[5] += bool(event.payload.get("passed"))
        else:
            row[0] += 1
            first[event.item_id, event.annotator] = event
    for event in repeats:
        before = first.get((event.item_id, event.annotator))
        if before is not None:
            counts[event.annotator][2] += 1
            same = label_key(before.payload["label"]) == label_key(event.payload["label"])
            counts[event.annotator][3] += same
    return counts


def by_majority(
    votes: dict[str, Votes],
    items: Iterable[Cells],
    *,
    keep_ties: bool,
    min_agreement: float,
) -> Iterator[Cells]:
    """Yield each item with the majority of its labels, and what was reworded.

    An edited answer joins its item, ranked above the answer it was made from, where the majority
    puts that one first: ranks 1 (edited), 2 (its source), 3 (the rest). Where the majority says
    otherwise, all that is known is that the edit is better than its source: a pair of these two.

    Items come and go as rows of the table, so that texts which stay as they are need no reading.
    """
    for cells in items:
        labels, edits = votes[str(cells[0])].labels, votes[str(cells[0])].edits
        label = majority(labels) if labels else None
        if label is not None and label["agreement"] < min_agreement:
            label = None
        if label is not None and not keep_ties and label["kind"] in NO_PREFERENCE:
            label = None
        if edits:
            yield from map(cells_of, _with_wordings(pair_of(cells), label, edits))
        elif label is not None:
            yield _labelled(cells, label)


def _with_wordings(item: Pair, label: Label | None, edits: list[LabelEvent]) -> Iterator[Pair]:
    best = None if label is None else winner_of(label)
    joined = [edit for edit in edits if _source(edit) == best]
    if label is not None:
        labelled = replace(item, label=label, meta=_meta(item))
        yield _with_edits(item, label, joined) if joined else labelled
    for edit in edits:
        if edit not in joined:
            yield _alone(item, edit)


def _reworded(item: Pair, edit: LabelEvent) -> list[Message]:
    """Return the response that an edit made: its source with another last message."""
    source = item.responses[_source(edit)]
    last = Message(role=source[-1]["role"], content=edit.payload["text"])
    return [*source[:-1], last]


def _source(edit: LabelEvent) -> int:
    """Return which of the item's responses an edit was made from."""
    return int(edit.payload["label"]["winner"])


def _labelled(cells: Cells, label: Label) -> Cells:
    ident, prompt, responses, imported, source, meta = cells
    if imported is not None:
        meta = dumps(_meta(pair_of(cells)))
    return (ident, prompt, responses, dumps(label), source, meta)


def _with_edits(item: Pair, label: Label, edits: list[LabelEvent]) -> Pair:
    ranks = label.get("ranks")
    if ranks is None:
        ranks = [1 if place == label["winner"] else 2 for place in range(len(item.responses))]
    wordings: list[list[Message]] = []
    for edit in edits:
        wording = _reworded(item, edit)
        if wording not in wordings:
            wordings.append(wording)
    label = {
        "kind": "rank",
        "ranks": [*(rank + 1 for rank in ranks), *(1 for _ in wordings)],
        "annotators": label["annotators"],
        "agreement": label["agreement"],
        **{name: label[name] for name in ("tags",) if name in label},
    }
    meta = {**_meta(item), "edited": _edited(item, edits)}
    responses = [*item.responses, *wordings]
    return Pair.make(item.prompt, responses, label=label, source=item.source, meta=meta)


def _alone(item: Pair, edit: LabelEvent) -> Pair:
    label = {"kind": "choice", "winner": 0, "strength": None, "annotators": 1, "agreement": 1.0}
    responses = [_reworded(item, edit), item.responses[_source(edit)]]
    meta = {**_meta(item), "edited": _edited(item, [edit])}
    return Pair.make(item.prompt, responses, label=label, source=item.source, meta=meta)


def _edited(item: Pair, edits: list[LabelEvent]) -> dict[str, Any]:
    return {
        "item": item.id,
        "of": _source(edits[0]),
        "by": [edit.annotator for edit in edits],
    }


def _meta(item: Pair) -> dict[str, Any]:
    return item.meta if item.label is None else {**item.meta, "imported_label": item.label}


def majority(labels: list[Label]) -> Label:
    """Return the majority of several annotators' labels for one item.

    A response wins with strictly more votes than anything else has; otherwise it is a tie (or
    "both bad", where that has the most). ``agreement`` is the share of votes for it.
    ``strength`` is the mean over those who chose the winner and gave one, or None. ``tags`` counts
    the reasons that were given, by whomever; it is there where one was. Where somebody
    ranked the responses, see :func:`mean_ranking`.
    """
    if any(label["kind"] == "rank" for label in labels):
        return mean_ranking(labels)
    votes = Counter(map(label_key, labels))
    top = max(votes.values())
    leaders = [key for key, count in votes.items() if count == top]
    kind, winner = leaders[0] if len(leaders) == 1 else ("tie", None)
    share = votes[kind, winner] / len(labels)
    shared: Label = {"kind": kind, "annotators": len(labels), "agreement": share, **_tags(labels)}
    if kind == "choice":
        strengths = [
            label["strength"]
            for label in labels
            if label_key(label) == (kind, winner) and isinstance(label.get("strength"), int | float)
        ]
        shared["winner"] = winner
        shared["strength"] = sum(strengths) / len(strengths) if strengths else None
    return shared


def mean_ranking(labels: list[Label]) -> Label:
    """Return the ranking by mean rank (Borda) of labels among which at least one is a ranking.

    Who only chose the best put it first and the rest second; a tie or "both bad" puts all first.
    ``agreement`` is the mean share of response pairs that a label orders as the mean ranking does.
    """
    size = max(len(label["ranks"]) for label in labels if label["kind"] == "rank")
    rows = [_as_ranks(label, size) for label in labels]
    means = [sum(row[place] for row in rows) / len(rows) for place in range(size)]
    steps = sorted(set(means))
    ranks = [steps.index(mean) + 1 for mean in means]
    pairs = [(i, j) for i in range(size) for j in range(i)]
    same = sum(_sign(row, i, j) == _sign(ranks, i, j) for row in rows for i, j in pairs)
    agreement = same / (len(rows) * len(pairs))
    shared: Label = {"annotators": len(labels), "agreement": agreement, **_tags(labels)}
    if len(steps) == 1:
        return {"kind": "tie", **shared}
    return {"kind": "rank", "ranks": ranks, **shared}


def _tags(labels: list[Label]) -> dict[str, Any]:
    """Return how many people gave each reason, as a part of a label; empty where nobody did."""
    counts = Counter(tag for label in labels for tag in label.get("tags", ()))
    return {"tags": dict(counts)} if counts else {}


def _as_ranks(label: Label, size: int) -> list[int]:
    if label["kind"] == "rank":
        return label["ranks"]
    winner = label.get("winner") if label["kind"] == "choice" else None
    return [1 if winner is None or place == winner else 2 for place in range(size)]


def _sign(ranks: Sequence[int], i: int, j: int) -> int:
    return (ranks[i] > ranks[j]) - (ranks[i] < ranks[j])

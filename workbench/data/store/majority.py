"""From the labels that stand to pairs to train on: one verdict an item, and the better wordings."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from workbench.data.comparisons import NO_PREFERENCE
from workbench.data.jsontext import dumps
from workbench.data.messages import Message
from workbench.data.pairs import Cells, Pair, cells_of, pair_of
from workbench.data.store.label_events import Event
from workbench.data.store.label_values import best_of, majority, outcome


@dataclass(slots=True)
class Votes:
    """What people said of one item: a label each, and the answers they reworded."""

    labels: list[dict[str, Any]] = field(default_factory=lambda: [])
    edits: list[Event] = field(default_factory=lambda: [])


def votes_of(standing: Iterable[Event]) -> dict[str, Votes]:
    """Return the standing labels by item; repeats and gold items have no vote.

    What was reworded when an item came back swapped is kept all the same.
    """
    votes: dict[str, Votes] = {}
    for event in standing:
        counts, edits = event.counts, event.kind == "edit" and (event.counts or event.repeat)
        if counts or edits:
            found = votes.get(event.item_id) or votes.setdefault(event.item_id, Votes())
            if counts:
                found.labels.append(event.payload["label"])
            if edits:
                found.edits.append(event)
    return votes


def reliability(standing: Iterable[Event]) -> dict[str, list[int]]:
    """Count per person: labels, skips, repeats, of these consistent, gold items, of these passed.

    A repeat is counted where the item's first label stands too.
    """
    counts: dict[str, list[int]] = {}
    first: dict[tuple[str, str], Event] = {}
    again: list[Event] = []
    for event in standing:
        row = counts.setdefault(event.annotator, [0] * 6)
        if event.kind == "skip":
            row[1] += 1
        elif event.repeat:
            again.append(event)
        elif event.payload.get("reason") == "gold":
            row[4] += 1
            row[5] += bool(event.payload.get("passed"))
        else:
            row[0] += 1
            first[event.item_id, event.annotator] = event
    for event in again:
        before = first.get((event.item_id, event.annotator))
        if before is not None:
            counts[event.annotator][2] += 1
            same = outcome(before.payload["label"]) == outcome(event.payload["label"])
            counts[event.annotator][3] += same
    return counts


def judged(
    votes: dict[str, Votes],
    items: Iterable[Cells],
    *,
    keep_ties: bool,
    min_agreement: float,
) -> Iterator[Cells]:
    """Yield the items with their verdict, and what was reworded as responses of their own.

    An edited answer joins its item, ranked above the answer it was made from, where that one is
    the verdict's best: ranks 1 (edited), 2 (its source), 3 (the rest). Where the verdict is
    another, all that is known is that the edit is better than its source: a pair of these two.

    Items come and go as rows of the table, so that texts which stay as they are need no reading.
    """
    for cells in items:
        found = votes[str(cells[0])]
        label = majority(found.labels) if found.labels else None
        if label is not None and label["agreement"] < min_agreement:
            label = None
        if label is not None and not keep_ties and label["kind"] in NO_PREFERENCE:
            label = None
        if label is not None and not found.edits:
            yield _labelled(cells, label)
        elif found.edits:
            yield from map(cells_of, _with_wordings(pair_of(cells), label, found.edits))


def _with_wordings(item: Pair, label: dict[str, Any] | None, edits: list[Event]) -> Iterator[Pair]:
    best = None if label is None else best_of(label)
    joined = [edit for edit in edits if _source(edit) == best]
    if label is not None:
        labelled = replace(item, label=label, meta=_meta(item))
        yield _with_edits(item, label, joined) if joined else labelled
    for edit in edits:
        if edit not in joined:
            yield _alone(item, edit)


def reworded(item: Pair, edit: Event) -> list[Message]:
    """Return the response that an edit made: its source with another last message."""
    source = item.responses[_source(edit)]
    last = Message(role=source[-1]["role"], content=edit.payload["text"])
    return [*source[:-1], last]


def _source(edit: Event) -> int:
    """Return which of the item's responses an edit was made from."""
    return int(edit.payload["label"]["winner"])


def _labelled(cells: Cells, label: dict[str, Any]) -> Cells:
    ident, prompt, responses, imported, source, meta = cells
    if imported is not None:
        meta = dumps(_meta(pair_of(cells)))
    return (ident, prompt, responses, dumps(label), source, meta)


def _with_edits(item: Pair, label: dict[str, Any], edits: list[Event]) -> Pair:
    ranks = label.get("ranks")
    if ranks is None:
        ranks = [1 if place == label["winner"] else 2 for place in range(len(item.responses))]
    made: list[list[Message]] = []
    for edit in edits:
        response = reworded(item, edit)
        if response not in made:
            made.append(response)
    label = {
        "kind": "rank",
        "ranks": [*(rank + 1 for rank in ranks), *(1 for _ in made)],
        "annotators": label["annotators"],
        "agreement": label["agreement"],
    }
    meta = {**_meta(item), "edited": _edited(item, edits)}
    responses = [*item.responses, *made]
    return Pair.make(item.prompt, responses, label=label, source=item.source, meta=meta)


def _alone(item: Pair, edit: Event) -> Pair:
    label = {"kind": "choice", "winner": 0, "strength": None, "annotators": 1, "agreement": 1.0}
    responses = [reworded(item, edit), item.responses[_source(edit)]]
    meta = {**_meta(item), "edited": _edited(item, [edit])}
    return Pair.make(item.prompt, responses, label=label, source=item.source, meta=meta)


def _edited(item: Pair, edits: list[Event]) -> dict[str, Any]:
    return {
        "item": item.id,
        "of": _source(edits[0]),
        "by": [edit.annotator for edit in edits],
    }


def _meta(item: Pair) -> dict[str, Any]:
    return item.meta if item.label is None else {**item.meta, "imported_label": item.label}

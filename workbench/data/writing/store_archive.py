"""A label store as one text file, from which the very same store can be made again."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from workbench.data.manifest import write_manifest
from workbench.data.pairs import Pair, Pairs, pair_of
from workbench.data.reading.sources import Record, open_source
from workbench.data.store.label_events import LabelEvent
from workbench.data.store.label_values import label_key
from workbench.data.store.majority import by_majority, votes_of
from workbench.errors import DataError
from workbench.json_lines import new_lines
from workbench.version import __version__

if TYPE_CHECKING:
    from workbench.data.store.labels import LabelStore

VERSION = 1  # raised when older versions of the workbench could not read the file
_EVENT = ("kind", "item_id", "annotator", "payload", "event_id", "time")
_BATCH = 5_000  # lines copied into a store in one transaction


def write_events(store: "LabelStore", path: str | Path) -> Path:
    """Write a label store whole: a first line that says so, its items, then its events in order.

    The file (gzipped where the path ends in .gz) is replaced whole or not at all, and has the same
    bytes for the same store. A manifest is written beside it.

    Returns:
        The path written.
    """
    path = Path(path)
    items = 0
    events = store.event_list()
    with new_lines(path) as lines:
        lines.add({"archive": "workbench label store", "version": VERSION})
        for item in store.items():
            lines.add({"item": item.as_dict()})
            items += 1
        for event in events:
            lines.add({"event": {name: getattr(event, name) for name in _EVENT}})
    manifest = {
        "file": path.name,
        "format": "events",
        "layout": VERSION,
        "items": items,
        "events": len(events),
        "rows": lines.rows,
        "sha256": lines.sha256,
        "source": {"name": str(store.path), "format": "label store"},
        "workbench": __version__,
    }
    write_manifest(path, manifest)
    return path


def read_events(path: str | Path, store: "LabelStore") -> "LabelStore":
    """Copy what :func:`write_events` wrote into a label store; return the store.

    An empty store ends up equal to the one that was written. Items and events that a store has
    already stay as they are, so that a broken-off copy can be done again, and the labels of several
    people can be brought together in one store.

    Raises:
        DataError: the file is no such archive, is of a newer version, or has a line that cannot be
            read; what stood before that line is in the store.
    """
    source = open_source(path)
    with closing(source.records) as records:
        _check_head(next(records, None), source.name)
        for items, events in _batches(records):
            store.add_items(items)
            _add_events(store, events)
    return store


def _batches(records: Iterator[Record]) -> Iterator[tuple[list[Pair], list[LabelEvent]]]:
    """Yield a file's items and events, some thousands at a time; also what precedes a bad line."""
    items: list[Pair] = []
    events: list[LabelEvent] = []
    try:
        for entry in map(_entry, records):
            if isinstance(entry, Pair):
                items.append(entry)
            else:
                events.append(entry)
            if len(items) + len(events) >= _BATCH:
                yield items, events
                items, events = [], []
    except DataError:
        yield items, events
        raise
    yield items, events


def _add_events(store: "LabelStore", events: list[LabelEvent]) -> None:
    try:
        store.add_events(events)
    except DataError:  # one of them cannot be: it is refused by itself, those before it are in
        for event in events:
            store.append(event)


def _check_head(head: Record | None, name: str) -> None:
    version = None if head is None or "archive" not in head.fields else head.fields.get("version")
    if not isinstance(version, int):
        raise DataError(
            "this is not an archive of a label store",
            where=name,
            fix="give a file that write_events, or export --format events, has written",
        )
    if version > VERSION:
        raise DataError(
            "the archive was written by a newer version of the workbench",
            where=name,
            fix="update the workbench",
        )


def pairs_of_each_vote(store: "LabelStore", annotators: list[str] | None = None) -> Pairs:
    """Return the labels that hold now, one item for each label that counts.

    Each label says whose it is (``annotator``) and which share of the people agree with it
    (``agreement``).

    Raises:
        DataError: one of the annotators has no event in the store.
    """
    return Pairs.from_items(_votes(store, annotators))


def _votes(store: "LabelStore", annotators: list[str] | None) -> Iterator[Pair]:
    by_item: dict[str, list[LabelEvent]] = {}
    for event in store.decisions(annotators):
        if event.counts:
            by_item.setdefault(event.item_id, []).append(event)
    for cells in store.copies(list(by_item)):
        events = by_item[str(cells[0])]
        votes = [label_key(event.payload["label"]) for event in events]
        for event, vote in zip(events, votes, strict=True):
            share = votes.count(vote) / len(votes)
            own = by_majority(votes_of([event]), [cells], keep_ties=True, min_agreement=0.0)
            for pair in map(pair_of, own):
                label = {**(pair.label or {}), "annotator": event.annotator, "agreement": share}
                yield replace(pair, label=label)


def _entry(record: Record) -> Pair | LabelEvent:
    fields = record.fields
    try:
        if record.bad:
            raise ValueError(record.bad)
        if "item" in fields:
            return Pair(**fields["item"])
        return LabelEvent(**cast("dict[str, Any]", fields["event"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"a line of the archive is neither an item nor an event ({error})",
            where=f"line {record.row}",
            fix="write the archive again; what stood before this line was read",
        ) from error

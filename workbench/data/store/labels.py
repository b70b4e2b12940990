"""The label store: one SQLite file in which a label, once acknowledged, is never lost.

Write-ahead log, synchronous FULL, append-only events (held by triggers), and copies of the texts
that were labelled, so that labels never depend on the file they came from.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from html import escape
from json import loads
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.data.arrow_table import frame_of
from workbench.data.pairs import Cells, Pair, Pairs, cells_of, pair_of
from workbench.data.store.label_events import (
    LABELS,
    QUEUED,
    SESSION,
    History,
    LabelEvent,
    gc_paused,
)
from workbench.data.store.label_values import is_label
from workbench.data.store.majority import by_majority, reliability, votes_of
from workbench.data.store.rescue import damaged, readable_rows
from workbench.data.store.sqlite_file import SqliteFile
from workbench.data.store.store_tables import EVENT_CELLS, ITEM_CELLS, SIDE_CELLS, row_checksum
from workbench.errors import ConfigError, DataError
from workbench.json_lines import dumps

if TYPE_CHECKING:
    from workbench.data.arrow_table import Frame

EVENT_COLUMNS = ("seq", "event_id", "time", "item_id", "annotator", "kind", "choice", "payload")
LABEL_COLUMNS = (
    *("item_id", "annotator", "kind", "winner", "strength", "ranks", "choice"),
    *("time", "event_id", "tags"),
)
SESSION_COLUMNS = ("session", "annotator", "time", "guidelines", "tags")
PEOPLE_COLUMNS = (
    *("annotator", "labels", "skips", "repeats", "consistent"),
    *("gold", "gold_passed", "consistency", "gold_rate"),
)
_EVENTS = f"SELECT {EVENT_CELLS}, checksum, seq FROM events"
_ITEMS = f"SELECT {ITEM_CELLS}, checksum FROM items"


class Rescued(NamedTuple):
    """What :meth:`LabelStore.rescue` could bring over: a new store, and what stayed behind."""

    store: "LabelStore"
    items: int
    events: int
    left_out: int  # events that can be read, but are about an item that cannot


class LabelStore(SqliteFile):
    """Labels in one SQLite file: each is an event, committed before it is acknowledged.

    Safe to use from several threads and several processes at once. To hand it on, ``save_copy``.

    Args:
        path: the file; made where there is none, with the folders above it. On a read-only disk it
            is opened to read.

    Raises:
        DataError: the file is damaged or not a label store, or cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._history = History()  # all events, read when decisions are asked for

    @classmethod
    def rescue(cls, path: str | Path, to: str | Path) -> Rescued:
        """Make a new store of what can still be read of a damaged one, which stays as it is.

        Raises:
            DataError: there is a file at ``to``, or nothing can be read.
        """
        old, new = Path(path).expanduser(), Path(to).expanduser()
        if new.exists():
            raise DataError(
                "there is a file of that name already", where=str(new), fix="give a new name"
            )
        items, events = readable_rows(old, "items"), readable_rows(old, "events")
        if not items and not events:
            raise DataError(
                "nothing can be read of this file",
                where=str(old),
                fix="go back to a copy made before",
            )
        store = cls(new)
        store.add_items(map(pair_of, items))
        known = {row[0] for row in items}
        readable = [_event((*row, None, 0)) for row in events]
        kept = [event for event in readable if event.kind not in LABELS or event.item_id in known]
        store.add_events(kept)
        return Rescued(store, len(items), len(kept), len(readable) - len(kept))

    def append(self, event: LabelEvent, item: Pair | None = None) -> bool:
        """Commit one event, and the item's texts with it where the store has them not yet.

        Returns:
            True when it was stored; False when an event of this id was stored before.

        Raises:
            DataError: it could not be written, then nothing of it was; or it is a label without
                ``{"label": {"kind": ...}}``, or for an item that the store does not know.
        """
        _check_label(event)
        with self._writing("the label was not saved") as db:
            return self._put(db, event, item)

    def add_events(self, events: Iterable[LabelEvent]) -> int:
        """Commit many events in one transaction, all or none; return how many were new.

        Raises:
            DataError: as :meth:`append` does for one of them.
        """
        new = 0
        with self._writing("the events were not saved") as db:
            for event in events:
                _check_label(event)
                new += self._put(db, event, None)
        return new

    def add_items(self, pairs: Iterable[Pair]) -> int:
        """Copy items into the store; return how many were new. Labelling does this by itself."""
        rows = [_with_checksum(cells_of(pair)) for pair in pairs]
        with self._writing("the items were not saved") as db:
            return db.executemany(_INSERT_ITEM, rows).rowcount if rows else 0

    def send(self, pair: Pair, annotator: str = "me", seen_in: str = "") -> bool:
        """Send a pair to the labeller's queue, from wherever it was seen; ``wb.label`` offers it.

        Args:
            pair: the item; its label, if it came with one, is not shown.
            annotator: who sends it.
            seen_in: what it was seen in, stored with it.

        Returns:
            False where it waits already, or has a label.
        """
        with self.exclusively():
            if pair.id in self._waiting() or pair.id in self._labelled():
                return False
            stored = self.item(pair.id)
            return self.append(
                LabelEvent(QUEUED, pair.id, annotator, {"from": seen_in}), stored or pair
            )

    def queue(self) -> Pairs:
        """Return the items that were sent to be labelled and have no label yet, oldest first."""
        labelled = self._labelled()
        unlabelled = [ident for ident in self._waiting() if ident not in labelled]
        return Pairs.from_cells(self.copies(unlabelled))

    def item(self, item_id: str) -> Pair | None:
        """Return the store's copy of an item, if it has one."""
        rows = self._rows(f"{_ITEMS} WHERE id = ?", (item_id,))
        return pair_of(self._checked(rows[0])) if rows else None

    def items(self) -> Iterator[Pair]:
        """Yield the store's copy of every item, by id."""
        query = f"{_ITEMS} WHERE id > ? ORDER BY id LIMIT 1000"
        last = ""
        while rows := self._rows(query, (last,)):
            yield from (pair_of(self._checked(row)) for row in rows)
            last = rows[-1][0]

    def has_event(self, event_id: str) -> bool:
        """Whether an event of this id is stored, in the file that stands at the path.

        Raises:
            DataError: the file was deleted, moved or replaced since it was opened.
        """
        self._check_in_place()
        return bool(self._rows("SELECT 1 FROM events WHERE event_id = ?", (event_id,)))

    def side(self, item_id: str, annotator: str) -> list[int] | None:
        """Return the order in which this person saw an item's responses, where it is stored."""
        query = f"SELECT {SIDE_CELLS}, checksum FROM sides WHERE item_id = ? AND annotator = ?"
        rows = self._rows(query, (item_id, annotator))
        return loads(self._checked(rows[0])[2]) if rows else None

    def event_list(self, after: int = 0, annotator: str | None = None) -> list[LabelEvent]:
        """Return the events with a ``seq`` above ``after``, oldest first."""
        if annotator is None:
            rows = self._rows(f"{_EVENTS} WHERE seq > ? ORDER BY seq", (after,))
        else:
            query = f"{_EVENTS} WHERE annotator = ? AND seq > ? ORDER BY seq"
            rows = self._rows(query, (annotator, after))
        for *cells, checksum, _ in rows:
            if row_checksum(cells) != checksum:
                raise damaged(self.path, f"event {cells[0]} is not what was written")
        payloads = loads(f"[{','.join(row[5] for row in rows)}]")  # at once: a third of the time
        return [
            LabelEvent(kind, item_id, person, payload, event_id, when, seq)
            for (event_id, when, item_id, person, kind, _, _, seq), payload in zip(
                rows, payloads, strict=True
            )
        ]

    def events(self) -> "Frame":
        """Return all events, one row each, oldest first; ``payload`` is JSON text."""
        rows = [
            (
                *(e.seq, e.event_id, e.time, e.item_id, e.annotator, e.kind),
                *(e.payload.get("choice"), dumps(e.payload)),
            )
            for e in self.event_list()
        ]
        return frame_of(rows, EVENT_COLUMNS)

    def labels(self, annotators: list[str] | None = None) -> "Frame":
        """Return the labels that hold now, after undo and redo: a row an item and annotator.

        ``kind`` is choice, tie, both_bad or rank; ``winner`` counts the item's responses from 0,
        ``ranks`` has one a response, 1 = best; ``tags`` are the reasons given. Repeats and gold
        items are left out.
        """
        rows = [
            (
                *(e.item_id, e.annotator, label["kind"], label.get("winner")),
                *(label.get("strength"), label.get("ranks"), e.payload.get("choice")),
                *(e.time, e.event_id, e.payload.get("tags", [])),
            )
            for e in self.decisions(annotators)
            if e.counts
            for label in [e.payload["label"]]
        ]
        return frame_of(rows, LABEL_COLUMNS, whole=("winner", "strength"))

    def pairs(
        self,
        annotators: list[str] | None = None,
        ties: str = "drop",
        min_agreement: float = 0.0,
    ) -> Pairs:
        """Return the labelled items, ready to train on: one each, by majority of the annotators.

        Repeats and gold items are left out. An answer that somebody reworded is a response of its
        own, ranked above the one it was made from (see :mod:`workbench.data.store.majority`).

        Args:
            annotators: count only these; None counts all.
            ties: "drop" leaves out what has no winner, "keep" leaves it in.
            min_agreement: leave out items on whose label a smaller share agreed, 0 to 1.

        Raises:
            ConfigError: ``ties`` or ``min_agreement`` is not one of these.
            DataError: one of the annotators has no event in the store.
        """
        if ties not in ("drop", "keep"):
            raise ConfigError(
                f"ties cannot be {ties!r}",
                where="store.pairs(ties=...)",
                fix="use 'drop' (leave them out) or 'keep'",
            )
        if not 0.0 <= min_agreement <= 1.0:
            raise ConfigError(
                f"min_agreement cannot be {min_agreement!r}",
                where="store.pairs(min_agreement=...)",
                fix="give a share from 0 (any) to 1 (all agree)",
            )
        with gc_paused():
            votes = votes_of(self.decisions(annotators))
            keep = ties == "keep"
            items = self.copies(list(votes))
            rows = by_majority(votes, items, keep_ties=keep, min_agreement=min_agreement)
            return Pairs.from_cells(rows)

    def decisions(self, annotators: list[str] | None = None) -> list[LabelEvent]:
        """Return the decisions that hold now, of some people or of all."""
        with self._lock, gc_paused():
            last = self._history.last
            for event in self.event_list(last.seq if last else 0):
                self._history.add(event)
            decisions = list(self._history.decisions())
            people = self._history.people
        unknown = set(annotators or ()) - people
        if unknown:
            raise DataError(
                f"no events by {', '.join(sorted(unknown))}",
                where=str(self.path),
                fix=f"annotators in this store: {', '.join(sorted(people)) or '(none)'}",
            )
        return [event for event in decisions if annotators is None or event.annotator in annotators]

    def copies(self, ids: list[str]) -> Iterator[Cells]:
        """Yield the store's copies of some items, as rows, in the order of the ids.

        Raises:
            DataError: the store has no copy of one of them, or a damaged one.
        """
        for start in range(0, len(ids), 500):
            part = ids[start : start + 500]
            marks = ", ".join("?" * len(part))
            cells = self._rows(f"{_ITEMS} WHERE id IN ({marks})", tuple(part))
            rows = {row[0]: row for row in cells}
            for ident in part:
                if ident not in rows:
                    raise damaged(self.path, f"item {ident} cannot be found")
                yield self._checked(rows[ident])

    def annotators(self) -> "Frame":
        """Return a row for each person: how much was labelled, and how reliably.

        ``consistency`` is the share of items that came back swapped and got the same label,
        ``gold_rate`` the share of gold items labelled as they should be; missing where there are
        none.
        """
        rows = [
            (who, *counts, _share(counts[3], counts[2]), _share(counts[5], counts[4]))
            for who, counts in reliability(self.decisions()).items()
        ]
        return frame_of(rows, PEOPLE_COLUMNS)

    def sessions(self) -> "Frame":
        """Return what annotators were told and offered: guidelines and tags, a row each.

        A label's event names its row by ``payload["session"]``.
        """
        rows = [
            (e.event_id, e.annotator, e.time, e.payload["guidelines"], e.payload["tags"])
            for e in self.event_list()
            if e.kind == SESSION
        ]
        return frame_of(rows, SESSION_COLUMNS)

    def counts(self) -> dict[str, int]:
        """Return how much there is: items, events, annotators, and items now labelled."""
        events, annotators = self._rows("SELECT COUNT(*), COUNT(DISTINCT annotator) FROM events")[0]
        items = self._rows("SELECT COUNT(*) FROM items")[0][0]
        labelled = len(self._labelled())
        return {"items": items, "events": events, "annotators": annotators, "labelled": labelled}

    def __repr__(self) -> str:
        counts = ", ".join(f"{number:,} {name}" for name, number in self.counts().items())
        whole = "whole in this one file"
        if self.read_only:
            whole = f"to read only: {self.read_only}"
        elif not self.is_whole:
            whole = "some of it is still in the -wal file beside it: save_copy(path) has all"
        return f"LabelStore({str(self.path)!r}: {counts}; {whole})"

    def _repr_html_(self) -> str:
        name, _, rest = repr(self).removeprefix("LabelStore(").removesuffix(")").partition(": ")
        return (
            f"<p style='font-size:13px;margin:0'><b>Labels in <code>{escape(name)}</code></b>: "
            f"{escape(rest)}</p>"
        )

    def _checked(self, row: tuple[Any, ...]) -> Cells:
        """Return a row's cells; raises DataError where they are not what was written."""
        *cells, checksum = row
        if row_checksum(cells) != checksum:
            raise damaged(self.path, f"what is stored of item {cells[0]} is not what was written")
        return tuple(cells)

    def _waiting(self) -> list[str]:
        query = "SELECT item_id FROM events WHERE kind = ? GROUP BY item_id ORDER BY MIN(seq)"
        return [row[0] for row in self._rows(query, (QUEUED,))]

    def _labelled(self) -> set[str]:
        return {event.item_id for event in self.decisions() if event.counts}

    def _put(self, db: sqlite3.Connection, event: LabelEvent, item: Pair | None) -> bool:
        """Write an event inside a transaction; False where it is stored already."""
        if db.execute("SELECT 1 FROM events WHERE event_id = ?", (event.event_id,)).fetchone():
            return False
        self._hold_item(db, event, item)
        cells = (
            *(event.event_id, float(event.time), event.item_id, event.annotator),
            *(event.kind, dumps(event.payload)),
        )
        db.execute(_INSERT_EVENT, _with_checksum(cells))
        if "order" in event.payload:
            order = event.payload["order"]
            first = dumps(order[::-1] if event.repeat else order)  # as it stood the first time
            values = _with_checksum((event.item_id, event.annotator, first))
            db.execute("INSERT OR IGNORE INTO sides VALUES (?, ?, ?, ?)", values)
        return True

    def _hold_item(self, db: sqlite3.Connection, event: LabelEvent, item: Pair | None) -> None:
        """See to it that the store has the very texts that the event is about."""
        query = "SELECT responses FROM items WHERE id = ?"
        stored = db.execute(query, (event.item_id,)).fetchone()
        where = f"{self.path} (item {event.item_id})"
        if stored is None and item is not None:
            db.execute(_INSERT_ITEM, _with_checksum(cells_of(item)))
        elif stored is None and event.kind in LABELS:
            raise DataError(
                "a label was given for an item that the store has no copy of",
                where=where,
                fix="append(event, item=pair), or add_items(pairs) first",
            )
        elif stored is not None and item is not None and stored[0] != dumps(item.responses):
            raise DataError(
                "the store holds this item with its responses in another order or spelling",
                where=where,
                fix="label the store's own copy: store.item(id)",
            )


_INSERT_EVENT = f"INSERT INTO events ({EVENT_CELLS}, checksum) VALUES (?, ?, ?, ?, ?, ?, ?)"
_INSERT_ITEM = f"INSERT OR IGNORE INTO items ({ITEM_CELLS}, checksum) VALUES (?, ?, ?, ?, ?, ?, ?)"


def _with_checksum(cells: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*cells, row_checksum(cells))


def _event(row: tuple[Any, ...]) -> LabelEvent:
    """Return the event of a row of ``_EVENTS``."""
    event_id, when, item_id, annotator, kind, payload, _, seq = row
    return LabelEvent(kind, item_id, annotator, loads(payload), event_id, when, seq)


def _check_label(event: LabelEvent) -> None:
    if event.kind in LABELS and not is_label(event.payload.get("label")):
        raise DataError(
            "a label event says neither choice, tie, both_bad nor rank",
            where=f"event {event.event_id} on item {event.item_id}",
            fix='give payload={"label": {"kind": "choice", "winner": 0}} or the like',
        )


def _share(some: int, of: int) -> float | None:
    return some / of if of else None


StoreOrPath = LabelStore | str | Path


def as_store(
    store: StoreOrPath, argument: str = "store", *, new: bool = True, write: bool = False
) -> LabelStore:
    """Return a label store as it is; a path is opened.

    Args:
        store: the store, or where it is.
        argument: what it was given as, for the error.
        new: make it where nothing is.
        write: it is to be labelled in.

    Raises:
        ConfigError: it is neither a store nor a path.
        DataError: it cannot be opened, is not there, or cannot be written.
    """
    if isinstance(store, str | Path):
        if not new and not Path(store).expanduser().exists():
            raise DataError("no such label store", where=str(store), fix="check the path")
        store = LabelStore(store)
    if not isinstance(store, LabelStore):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(
            f"a label store is needed, not a {type(store).__name__}",
            where=f"{argument}={store!r:.80}",
            fix=f"give its path, {argument}='labels.sqlite', or a wb.LabelStore",
        )
    if write:
        store.check_writable()
    return store

"""What can still be read of a damaged label store, and a new store made of it."""

import sqlite3
from contextlib import closing, suppress
from json import loads
from pathlib import Path
from typing import Any

from workbench.data.store.label_events import LABELS
from workbench.data.store.store_tables import EVENT_CELLS, ITEM_CELLS, has_checksums, row_checksum
from workbench.errors import DataError

_SMALLEST_ROW = 20  # bytes; no event and no item is stored in fewer
_MOST_FAULTS = 20_000  # queries that may fail: a table whose root is gone has nothing to find


def damaged(path: Path, fault: str) -> DataError:
    """Return the error that tells a store's damage, and how much of it can still be read."""
    events, items = readable_rows(path, "events"), readable_rows(path, "items")
    labels = [row for row in events if row[4] in LABELS]
    people = {row[3] for row in labels}
    advice = (
        f"{len(labels)} labels by {len(people)} people and {len(items)} items can still be read"
        if events or items
        else "nothing of it can be read"
    )
    return DataError(
        f"the label store is damaged ({fault}): {advice}",
        where=str(path),
        fix="go back to a copy made before, if there is one; or LabelStore.rescue(path, "
        "'rescued.sqlite') writes what can still be read into a new store. This one is not "
        "written to",
    )


def readable_rows(path: Path, table: str) -> list[tuple[Any, ...]]:
    """Return the rows of "events" or "items" that can still be read and are as they were written.

    Rows without a checksum (from an older version) are taken where their JSON can be read.
    """
    for how in ("mode=ro", "immutable=1"):  # the second where the log cannot be opened
        address = f"{path.absolute().as_uri()}?{how}"
        with suppress(sqlite3.Error), closing(sqlite3.connect(address, uri=True)) as db:
            return _readable_rows(db, table, path.stat().st_size)
    return []


def _readable_rows(db: sqlite3.Connection, table: str, size: int) -> list[tuple[Any, ...]]:
    cells = EVENT_CELLS if table == "events" else ITEM_CELLS
    checksum = "checksum" if has_checksums(db, table) else "NULL"
    query = f"SELECT {cells}, {checksum} FROM {table} WHERE rowid BETWEEN ? AND ? ORDER BY rowid"
    rows: list[tuple[Any, ...]] = []
    ranges, faults = [(1, max(1, size // _SMALLEST_ROW))], 0
    while ranges and faults < _MOST_FAULTS:
        first, last = ranges.pop()
        try:
            block = db.execute(query, (first, last)).fetchall()
        except (sqlite3.Error, UnicodeError, OverflowError, MemoryError):
            faults += 1
            if first < last:  # halved, down to the rows that are lost
                middle = (first + last) // 2
                ranges += [(middle + 1, last), (first, middle)]
        else:
            rows += [tuple(row) for *row, check in block if _is_whole(table, row, check)]
    return rows


def _is_whole(table: str, row: list[Any], checksum: object) -> bool:
    if checksum is not None:
        return row_checksum(row) == checksum
    texts = row[-1:] if table == "events" else [cell for cell in row[1:] if cell is not None]
    try:
        return all(isinstance(loads(text), dict | list) for text in texts)
    except (TypeError, ValueError):
        return False

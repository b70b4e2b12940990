"""The tables of a label store: how they are made, brought up to date, and told from strangers'.

Each event, item and order of sides carries a checksum of its row, so that a damaged disk cannot
change a text or a label without a word.
"""

import sqlite3
import zlib
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from workbench.errors import DataError

APPLICATION = 0x524C4846  # "RLHF", in the file's header: tells a label store from other databases
VERSION = 3  # 2 added the claims, 3 the checksums; an older store gets them when it is opened

EVENT_CELLS = "event_id, time, item_id, annotator, kind, payload"  # what an event's checksum is of
ITEM_CELLS = "id, prompt, responses, label, source, meta"
SIDE_CELLS = 'item_id, annotator, "order"'
CHECKED = {"events": EVENT_CELLS, "items": ITEM_CELLS, "sides": SIDE_CELLS}

TABLES = (
    """CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    time REAL NOT NULL,
    item_id TEXT NOT NULL,
    annotator TEXT NOT NULL,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    checksum INTEGER
)""",
    "CREATE INDEX IF NOT EXISTS events_of ON events (annotator, seq)",
    """CREATE TRIGGER IF NOT EXISTS events_stay BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events are never changed'); END""",
    """CREATE TRIGGER IF NOT EXISTS events_last BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'events are never deleted'); END""",
    """CREATE TABLE IF NOT EXISTS items (
    id TEXT PRIMARY KEY,
    prompt TEXT NOT NULL,
    responses TEXT NOT NULL,
    label TEXT,
    source TEXT NOT NULL,
    meta TEXT NOT NULL,
    checksum INTEGER
)""",
    """CREATE TABLE IF NOT EXISTS sides (
    item_id TEXT NOT NULL,
    annotator TEXT NOT NULL,
    "order" TEXT NOT NULL,
    checksum INTEGER,
    PRIMARY KEY (item_id, annotator)
) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS claims (
    slot TEXT NOT NULL,
    annotator TEXT NOT NULL,
    holder TEXT NOT NULL,
    until REAL NOT NULL,
    PRIMARY KEY (slot, holder)
) WITHOUT ROWID""",
)


@contextmanager
def transaction(db: sqlite3.Connection) -> Generator[None]:
    """Write what is done inside all together, or nothing of it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def make_tables(db: sqlite3.Connection) -> None:
    """Make what is missing of the tables, and give an older store what it lacks."""
    if _number(db, "user_version") == VERSION:
        return
    with transaction(db):  # another process may be making the tables just now
        before = _number(db, "user_version")
        for statement in TABLES:
            db.execute(statement)
        if 0 < before < 3:
            _add_checksums(db)
        db.execute(f"PRAGMA application_id = {APPLICATION}")
        db.execute(f"PRAGMA user_version = {VERSION}")


def _add_checksums(db: sqlite3.Connection) -> None:
    db.create_function("row_checksum", -1, lambda *cells: row_checksum(cells), deterministic=True)
    db.execute("DROP TRIGGER events_stay")  # this once; it is back when the transaction ends
    for table, cells in CHECKED.items():
        if not has_checksums(db, table):
            db.execute(f"ALTER TABLE {table} ADD COLUMN checksum INTEGER")
        db.execute(f"UPDATE {table} SET checksum = row_checksum({cells}) WHERE checksum IS NULL")
    for statement in TABLES:
        db.execute(statement)


def has_checksums(db: sqlite3.Connection, table: str = "events") -> bool:
    """Whether a table has them; an older store gets them when it is opened to write."""
    return "checksum" in [row[1] for row in db.execute(f"PRAGMA table_info({table})")]


def row_checksum(cells: Sequence[Any]) -> int:
    """Return the checksum of a row as it is stored: CRC-32 over its cells in their order."""
    text = "\x1f".join("" if cell is None else str(cell) for cell in cells)
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def check_kind(db: sqlite3.Connection, path: Path) -> None:
    """See that a file is a label store, or empty.

    Raises:
        DataError: it is another program's database, or of a newer version.
    """
    # in this order: another process that makes the store right now commits both at once, so that
    # whoever sees its tables sees its mark too
    tables = db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
    application = _number(db, "application_id")
    if application != APPLICATION and (application or tables):
        raise DataError(
            "this is a database, but not a label store",
            where=str(path),
            fix="give another path; a label store is made where there is no file",
        )
    if _number(db, "user_version") > VERSION:
        raise DataError(
            "the label store was made by a newer version of the workbench",
            where=str(path),
            fix="update the workbench",
        )


def check_objects(db: sqlite3.Connection, path: Path) -> None:
    """See that a store's tables, indexes and triggers are ours, and that nothing acts behind them.

    A trigger, a view or an index of somebody else's would run when a label is read or written.

    Raises:
        DataError: one of them is another's, or one of ours is missing or changed.
    """
    with closing(sqlite3.connect(":memory:")) as new:
        for statement in TABLES:
            new.execute(statement)
        ours = _objects(new)
    version, objects = _number(db, "user_version"), _objects(db)
    if version == 0 and not objects:
        return
    for name, (kind, table, statement) in objects.items():
        foreign = (
            kind in ("trigger", "view")
            or table in {own[1] for own in ours.values()}
            or statement.lower().startswith("createvirtual")
        )
        if name not in ours and foreign:
            raise DataError(
                f"the label store holds a {kind} that the workbench did not make: {name!r}",
                where=str(path),
                fix="do not use this file as it is: what is in it would run when labels are read "
                "or saved; ask whoever made it for store.save_copy(...)",
            )
    changed = [
        name
        for name, (kind, table, statement) in ours.items()
        if name in objects
        and objects[name] != (kind, table, statement)
        and not (version < VERSION and kind == "table")
    ]
    missing = [name for name in ours if name not in objects] if version == VERSION else []
    if changed or missing:
        named = f"{(changed + missing)[0]!r} is {'changed' if changed else 'missing'}"
        raise DataError(
            f"the tables are not those of a label store: {named}",
            where=str(path),
            fix="give another path: this file is not a label store, or it is damaged",
        )


def _objects(db: sqlite3.Connection) -> dict[str, tuple[str, str, str]]:
    """By name: kind, table and statement (blanks left out) of all that a database defines."""
    rows = db.execute("SELECT name, type, tbl_name, sql FROM sqlite_master").fetchall()
    return {
        str(name): (str(kind), str(table), "".join(str(statement or "").split()))
        for name, kind, table, statement in rows
    }


def _number(db: sqlite3.Connection, pragma: str) -> int:
    return int(db.execute(f"PRAGMA {pragma}").fetchone()[0])

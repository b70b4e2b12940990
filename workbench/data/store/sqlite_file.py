"""The tables of a label store, and how its file is opened."""

import re
import sqlite3
from pathlib import Path

from workbench.errors import DataError

APPLICATION = 0x524C4846  # "RLHF", in the file's header: tells a label store from other databases
VERSION = 2  # 2 adds the claims; a store of version 1 gets them when it is opened

_TABLES = """
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    time REAL NOT NULL,
    item_id TEXT NOT NULL,
    annotator TEXT NOT NULL,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_of ON events (annotator, seq);
CREATE TRIGGER IF NOT EXISTS events_stay BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;
CREATE TRIGGER IF NOT EXISTS events_last BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'events are never deleted'); END;
CREATE TABLE IF NOT EXISTS items (
    id TEXT PRIMARY KEY,
    prompt TEXT NOT NULL,
    responses TEXT NOT NULL,
    label TEXT,
    source TEXT NOT NULL,
    meta TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS sides (
    item_id TEXT NOT NULL,
    annotator TEXT NOT NULL,
    "order" TEXT NOT NULL,
    PRIMARY KEY (item_id, annotator)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claims (
    slot TEXT NOT NULL,
    annotator TEXT NOT NULL,
    holder TEXT NOT NULL,
    until REAL NOT NULL,
    PRIMARY KEY (slot, holder)
) WITHOUT ROWID;
"""

_SHARED = {
    *("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "afs", "ceph", "9p", "virtiofs", "vboxsf"),
    *("lustre", "gpfs", "beegfs", "glusterfs", "orangefs", "ocfs2", "gfs2", "prl_fs", "vmhgfs"),
}
_ESCAPED = re.compile(r"\\([0-7]{3})")  # a blank in a mount's name


def prepare(db: sqlite3.Connection, path: Path) -> str:
    """Make a fresh connection safe, and the file a label store; return the journal in use.

    Raises:
        DataError: the file is another program's database, or of a newer version.
    """
    _check_kind(db, path)
    journal = _journal(db, is_shared(path))
    # A deleted journal must be gone from the folder too before a commit counts: EXTRA.
    db.execute(f"PRAGMA synchronous = {'FULL' if journal == 'wal' else 'EXTRA'}")
    db.execute("PRAGMA fullfsync = 1")  # on macOS a plain fsync stops at the drive's cache
    if _number(db, "user_version") != VERSION:
        _create(db)
    return journal


def _check_kind(db: sqlite3.Connection, path: Path) -> None:
    # in this order: another process that makes the store right now commits both at once, so that
    # where its tables are seen its mark is there to be seen
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


def is_shared(path: Path, mounts: Path = Path("/proc/mounts")) -> bool:
    """Whether a file is on a file system that other machines may write to.

    There the write-ahead log may seem to work and still lose labels: its index is shared memory,
    which ends at the machine. Where the system has no table of mounts this is not known: False.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    file = path.resolve()
    best, kind = -1, ""
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        place = Path(_ESCAPED.sub(lambda found: chr(int(found[1], 8)), fields[1]))
        if file.is_relative_to(place) and len(place.parts) >= best:  # the last one mounted there
            best, kind = len(place.parts), fields[2]
    return kind in _SHARED or (kind.startswith("fuse.") and "overlay" not in kind)


def _journal(db: sqlite3.Connection, shared: bool = False) -> str:
    """Ask for the write-ahead log; fall back where the file system cannot share its memory."""
    try:
        wanted = "DELETE" if shared else "WAL"
        got = db.execute(f"PRAGMA journal_mode = {wanted}").fetchone()[0]
        db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "readonly" in str(error):
            raise
        got = ""
    if got != "wal" and not shared:
        got = db.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
    return str(got)


def _create(db: sqlite3.Connection) -> None:
    """Make the tables, all in one transaction: another process may be doing the same."""
    db.execute("BEGIN IMMEDIATE")
    try:
        for statement in _statements():
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION}")
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _statements() -> list[str]:
    found: list[str] = []
    rest = ""
    for line in _TABLES.splitlines(keepends=True):
        rest += line
        if sqlite3.complete_statement(rest):
            found.append(rest)
            rest = ""
    return found


def _number(db: sqlite3.Connection, pragma: str) -> int:
    return int(db.execute(f"PRAGMA {pragma}").fetchone()[0])

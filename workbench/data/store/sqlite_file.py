"""The SQLite file under a label store: its tables, how it is opened, one transaction at a time."""

import re
import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from workbench.errors import DataError

APPLICATION = 0x524C4846  # "RLHF", in the file's header: tells a label store from other databases
VERSION = 2  # 2 adds the claims; a store of version 1 gets them when it is opened

_TABLES = (
    """CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    time REAL NOT NULL,
    item_id TEXT NOT NULL,
    annotator TEXT NOT NULL,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL
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
    meta TEXT NOT NULL
)""",
    """CREATE TABLE IF NOT EXISTS sides (
    item_id TEXT NOT NULL,
    annotator TEXT NOT NULL,
    "order" TEXT NOT NULL,
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

_SHARED = {
    *("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "afs", "ceph", "9p", "virtiofs", "vboxsf"),
    *("lustre", "gpfs", "beegfs", "glusterfs", "orangefs", "ocfs2", "gfs2", "prl_fs", "vmhgfs"),
}
_ESCAPED = re.compile(r"\\([0-7]{3})")  # a blank in a mount's name


class SqliteFile:
    """An open label store: reads, whole transactions, and errors that say how to mend them.

    Args:
        path: the file; made where there is none, with the folders above it.

    Raises:
        DataError: the file is not a label store, or cannot be opened or written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self._lock = threading.RLock()
        if self.path.is_dir():
            raise DataError(
                "this is a folder, not a label store",
                where=str(path),
                fix="name a file in it, such as labels.sqlite",
            )
        with self._explained("the label store cannot be opened"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                self.path, timeout=30, isolation_level=None, check_same_thread=False
            )
            try:
                self.journal = prepare(self._db, self.path)
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        """Close the file. Everything acknowledged is in it already."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def exclusively(self, *, durable: bool = True) -> Generator[sqlite3.Connection]:
        """Hold the store alone, in one transaction: all that is written in it, or nothing.

        Args:
            durable: wait until the disk has it; False is for claims, which may be forgotten.

        Raises:
            DataError: another program holds the store, or it cannot be written.
        """
        with self._lock, self._explained("the label store cannot be written"):
            if durable or self.journal != "wal":
                with self._writing("the label was not saved") as db:
                    yield db
                return
            self._db.execute("PRAGMA synchronous = NORMAL")
            try:
                with self._writing("the claim was not saved") as db:
                    yield db
            finally:
                self._db.execute("PRAGMA synchronous = FULL")

    def _rows(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock, self._explained("the label store cannot be read"):
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _writing(self, fault: str) -> Generator[sqlite3.Connection]:
        """Hold the lock and one transaction; inside another one of this thread, join that."""
        with self._lock, self._explained(fault):
            if self._db.in_transaction:
                yield self._db
            else:
                with _transaction(self._db):
                    yield self._db

    @contextmanager
    def _explained(self, fault: str) -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeEncodeError) as error:
            raise DataError(f"{fault}: {error}", where=str(self.path), fix=_fix(error)) from error


@contextmanager
def _transaction(db: sqlite3.Connection) -> Generator[None]:
    """Write what is done inside all together, or nothing of it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


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
        with _transaction(db):  # another process may be making the tables just now
            for statement in _TABLES:
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            db.execute(f"PRAGMA user_version = {VERSION}")
    return journal


def _check_kind(db: sqlite3.Connection, path: Path) -> None:
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
        place = Path(_ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), fields[1]))
        if file.is_relative_to(place) and len(place.parts) >= best:  # the last one mounted there
            best, kind = len(place.parts), fields[2]
    return kind in _SHARED or (kind.startswith("fuse.") and "overlay" not in kind)


def _journal(db: sqlite3.Connection, shared: bool = False) -> str:
    """Ask for the write-ahead log; fall back where the file system cannot share its memory."""
    try:
        mode = "DELETE" if shared else "WAL"
        journal = db.execute(f"PRAGMA journal_mode = {mode}").fetchone()[0]
        db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "readonly" in str(error):
            raise
        journal = ""
    if journal != "wal" and not shared:
        journal = db.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
    return str(journal)


def _number(db: sqlite3.Connection, pragma: str) -> int:
    return int(db.execute(f"PRAGMA {pragma}").fetchone()[0])


def _fix(error: Exception) -> str:
    """Return what to do about a refusal of SQLite or the file system."""
    text = str(error).lower()
    if "full" in text or "no space" in text:
        return "make room on the disk and do it again; what was saved before is safe"
    if "locked" in text or "busy" in text:
        return "another process holds the store; close it, or try again"
    if "not a database" in text or "malformed" in text:
        return "give another path: this file is not a label store, or it is damaged"
    if "readonly" in text or "read-only" in text or "permission" in text:
        return "make the file and its folder writable"
    return "check that the path is right and its folder is writable"

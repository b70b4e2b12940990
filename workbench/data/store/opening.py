"""How a label store's file is opened: looked over first, and never written where it is damaged."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from workbench.data.store.journal import set_journal
from workbench.data.store.rescue import damaged
from workbench.data.store.store_tables import (
    CHECKED,
    check_kind,
    check_objects,
    has_checksums,
    make_tables,
    row_checksum,
)
from workbench.errors import DataError

CHECKED_WHOLE = 64_000_000
"""Bytes up to which every row and every index is checked when a store is opened.

Of a larger file the structure is (SQLite's ``quick_check``), and each row when it is read.
"""

MEMORY = ":memory:"  # SQLite's name for a database that is nowhere on disk
READ_ONLY = "its file or its folder is read-only"


class Opened(NamedTuple):
    """An open store: its connection, and what may be done with it."""

    db: sqlite3.Connection
    journal: str
    read_only: str  # why it cannot be written; empty where it can
    copy: "tempfile.TemporaryDirectory[str] | None" = None  # to be kept as long as the connection


def open_file(path: Path) -> Opened:
    """Open a label store; make it where there is none, with the folders above it.

    Raises:
        DataError: it is damaged, is not a label store, or holds what would act by itself.
        sqlite3.Error: it cannot be opened.
        OSError: the folder cannot be made.
    """
    if str(path) == MEMORY:
        pass
    elif not path.exists() or not path.stat().st_size:
        _check_log_alone(path)
        path.parent.mkdir(parents=True, exist_ok=True)
    elif not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return _open_to_read(path)
    else:
        check_file(path)
    db = connect(path)
    try:
        check_kind(db, path)
        journal = set_journal(db, path)
        make_tables(db)
    except BaseException:
        db.close()
        raise
    return Opened(db, journal, "")


def connect(path: Path, how: str = "") -> sqlite3.Connection:
    """Return a connection that obeys no foreign schema; ``how``: SQLite's "mode=ro" or the like."""
    name = MEMORY if str(path) == MEMORY else path.absolute().as_uri() + (how and f"?{how}")
    db = sqlite3.connect(name, uri=True, timeout=30, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA cell_size_check = ON")
    return db


def check_file(path: Path) -> None:
    """Look a store over without writing to it.

    Raises:
        DataError: it is damaged, is not a label store, or holds what would act by itself.
    """
    with closing(connect(path, "mode=ro")) as db:
        try:
            check_open(db, path)
        except sqlite3.OperationalError as error:
            if "readonly" not in str(error) and "unable to open" not in str(error):
                raise
            # a write was broken off; only who may write can roll it back
            with closing(connect(path)) as writing:
                check_open(writing, path)


def check_open(db: sqlite3.Connection, path: Path) -> None:
    """Look over what a connection is open on; raises as :func:`check_file` does."""
    with _damage_told(path):
        check_kind(db, path)
        check_objects(db, path)
        whole = path.stat().st_size <= CHECKED_WHOLE
        check = "integrity_check" if whole else "quick_check"
        answers = [str(row[0]) for row in db.execute(f"PRAGMA {check}(3)")]
        if answers != ["ok"]:
            raise damaged(path, answers[0].splitlines()[0])
        for table, cells in CHECKED.items() if whole and has_checksums(db) else ():
            for *row, checksum in db.execute(f"SELECT {cells}, checksum FROM {table}"):
                if row_checksum(row) != checksum:
                    raise damaged(path, f"a row of {table} is not what was written")


@contextmanager
def _damage_told(path: Path) -> Generator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if "decode" not in str(error).lower():
            raise  # another program holds it, or it cannot be opened
        raise damaged(path, "a text in it is not UTF-8") from error
    except sqlite3.DatabaseError as error:
        if "not a database" in str(error):
            raise
        raise damaged(path, str(error)) from error


def _open_to_read(path: Path) -> Opened:
    """Open what cannot be written, from a read-only disk too, with what its log holds."""
    log = path.resolve().with_name(path.resolve().name + "-wal")
    copy = None
    try:
        db = connect(path, "mode=ro")
        db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:  # the log cannot be opened here
        if log.exists() and log.stat().st_size:
            copy = tempfile.TemporaryDirectory(prefix="workbench-store-")
            for file in (path, log):
                shutil.copyfile(file, Path(copy.name) / file.name)
            db = connect(Path(copy.name) / path.name)
        else:
            db = connect(path, "immutable=1")
    try:
        check_open(db, path)
        if not has_checksums(db):
            raise DataError(
                "the label store is of an older version and cannot be brought up to date here",
                where=f"{path}: {READ_ONLY}",
                fix="copy it to a folder you may write to, and open the copy",
            )
    except BaseException:
        db.close()
        raise
    return Opened(db, "", READ_ONLY, copy)


def _check_log_alone(path: Path) -> None:
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        raise DataError(
            "the label store's main file is missing or empty, and only its log is there",
            where=str(log),
            fix=f"put {path.name} back beside it; or move the log away to begin a new store",
        )

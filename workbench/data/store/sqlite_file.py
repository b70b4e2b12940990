"""The SQLite file under a label store: one transaction at a time, whole, and what went wrong."""

import os
import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

from workbench.data.store.opening import open_file
from workbench.data.store.store_tables import transaction
from workbench.data.store.whole_file import WholeFile
from workbench.errors import DataError

IDLE = 2.0  # [s] without a label, after which the main file is whole at the latest
_AT_ONCE = 8  # labels in that time that are brought into the main file one by one


class SqliteFile:
    """An open label store: reads, whole transactions, and errors that say how to mend them.

    Attributes:
        path: the file.
        journal: "wal" or "delete"; empty where it is only read.
        read_only: why it cannot be written; empty where it can.

    Args:
        path: the file; made where there is none, with the folders above it. What cannot be
            written, such as a read-only disk, is opened to read.

    Raises:
        DataError: the file is damaged or not a label store, or cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self._lock = threading.RLock()
        self._saved: deque[float] = deque(maxlen=_AT_ONCE)  # when the latest labels were saved
        self._timer: threading.Timer | None = None
        self._closed = False
        if self.path.is_dir():
            raise DataError(
                "this is a folder, not a label store",
                where=str(path),
                fix="name a file in it, such as labels.sqlite",
            )
        with self._explained("the label store cannot be opened"):
            self._db, self.journal, self.read_only, self._copy = open_file(self.path)
        self._file = WholeFile(self._db, self.path, self.journal)

    def close(self) -> None:
        """Close the file. Everything acknowledged is in it already."""
        with self._lock:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
            self._db.close()
            if self._copy is not None:
                self._copy.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_whole(self) -> bool:
        """Whether the file alone holds everything, so that a plain copy of it is whole.

        It is whenever no label has come for a few seconds; ``save_copy`` makes a whole one always.
        """
        return self._file.is_whole

    def save_copy(self, path: str | Path) -> Path:
        """Write the whole store, as it is now, to a new file: the way to hand it on.

        Works while people label, and where the store's own file was deleted meanwhile.

        Returns:
            The path written: one file, without a log beside it.

        Raises:
            DataError: there is a file already, or it cannot be written.
        """
        to = Path(path).expanduser()
        if to.exists():
            raise DataError(
                "there is a file of that name already",
                where=str(to),
                fix="give a new name, or delete that file first",
            )
        part = to.with_name(f"{to.name}.{os.getpid()}.part")
        with self._lock, self._explained("the copy was not written", to):
            if self._file.is_in_place and not self.read_only:
                with transaction(self._db):
                    self._file.check()  # not of what was copied over it
            try:
                to.parent.mkdir(parents=True, exist_ok=True)
                with closing(sqlite3.connect(part, isolation_level=None)) as copy:
                    self._db.backup(copy)
                    copy.execute("PRAGMA journal_mode = DELETE")
                    copy.execute("PRAGMA synchronous = FULL")
                    copy.execute("DELETE FROM claims")  # they hold for the sessions on this one
                os.replace(part, to)
            finally:
                part.unlink(missing_ok=True)
        return to

    def check_writable(self) -> None:
        """Say so where labels cannot be saved here.

        Raises:
            DataError: the store was opened to read only.
        """
        if self.read_only:
            raise DataError(
                f"the label store can only be read: {self.read_only}",
                where=str(self.path),
                fix="store.save_copy(path) writes it to a folder that can be written; label there",
            )

    @contextmanager
    def exclusively(self, *, durable: bool = True) -> Generator[sqlite3.Connection]:
        """Hold the store alone, in one transaction: all that is written in it, or nothing.

        Args:
            durable: wait until the disk has it; False is for claims, which may be forgotten.

        Raises:
            DataError: another program holds the store, or it cannot be written, or its file was
                deleted or replaced.
        """
        with self._lock, self._explained("the label store cannot be written"):
            if durable or self.journal != "wal":
                with self._writing("the label was not saved") as db:
                    yield db
                return
            self._db.execute("PRAGMA synchronous = NORMAL")
            try:
                with self._writing("the claim was not saved", durable=False) as db:
                    yield db
            finally:
                self._db.execute("PRAGMA synchronous = FULL")

    def _rows(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock, self._explained("the label store cannot be read"):
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _writing(self, fault: str, *, durable: bool = True) -> Generator[sqlite3.Connection]:
        """Hold the lock and one transaction; inside another one of this thread, join that."""
        self.check_writable()
        with self._lock, self._explained(fault):
            if self._db.in_transaction:
                yield self._db
                return
            with transaction(self._db):
                self._file.check()
                yield self._db
            self._file.check()  # what was committed is at the path
            if durable:
                self._saved.append(time.monotonic())
                if len(self._saved) < _AT_ONCE or self._saved[-1] - self._saved[0] > IDLE:
                    self._file.settle()
            self._settle_when_idle()

    def _check_in_place(self) -> None:
        """See that what was saved before is still at the path.

        Raises:
            DataError: the file was deleted, moved or replaced.
        """
        with self._lock, self._explained("the label store cannot be read"):
            self._file.check_place()
            if self._file.was_written and not self.read_only and not self._db.in_transaction:
                with transaction(self._db):
                    self._file.check()

    def _settle_when_idle(self) -> None:
        """See to it that the main file is whole after a while without labels."""
        if self._timer is None and not self._file.is_whole:
            timer = threading.Timer(IDLE, _settle_idle, (weakref.ref(self),))
            timer.daemon = True
            self._timer = timer
            timer.start()

    def _settle(self) -> None:
        with self._lock:
            self._timer = None
            if self._closed or self._db.in_transaction or not self._file.is_in_place:
                return
            if not self._saved or time.monotonic() - self._saved[-1] >= IDLE:
                self._file.settle()
            self._settle_when_idle()

    @contextmanager
    def _explained(self, fault: str, path: Path | None = None) -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeError, OverflowError, MemoryError) as error:
            where = str(path or self.path)
            raise DataError(f"{fault}: {error}", where=where, fix=_fix(error)) from error


def _settle_idle(reference: "weakref.ref[SqliteFile]") -> None:
    store = reference()
    if store is not None:
        store._settle()  # pyright: ignore[reportPrivateUsage]


def _fix(error: Exception) -> str:
    """Return what to do about a refusal of SQLite or the file system."""
    text = str(error).lower()
    if "full" in text or "no space" in text:
        return "make room on the disk and do it again; what was saved before is safe"
    if "locked" in text or "busy" in text:
        return "another process holds the store; close it, or try again"
    if "not a database" in text or "malformed" in text or "decode" in text:
        return "give another path: this file is not a label store, or it is damaged"
    if "readonly" in text or "read-only" in text or "permission" in text:
        return "make the file and its folder writable"
    return "check that the path is right and its folder is writable"

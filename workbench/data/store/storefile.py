"""The file under a label store: one SQLite connection, one transaction at a time."""

import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from workbench.data.store.sqlite_file import prepare
from workbench.errors import DataError


class StoreFile:
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self, fault: str) -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeEncodeError) as error:
            raise DataError(f"{fault}: {error}", where=str(self.path), fix=_fix(error)) from error


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

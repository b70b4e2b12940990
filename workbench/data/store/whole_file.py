"""Whether an open store's file is still there, the same, and whole without the log beside it."""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from workbench.errors import DataError

_LAST = "SELECT seq, event_id FROM events ORDER BY seq DESC LIMIT 1"
_PATIENCE = 10  # looks at a file that another process may be writing to just now
_PAUSE = 0.05  # seconds between two looks

Identity = tuple[int, int]  # device and inode


class WholeFile:
    """Watches the file under an open connection: that it stays in its place, and is whole.

    Args:
        db: the connection, open on the path.
        path: the store's file.
        journal: "wal" where there is a log beside it.
    """

    def __init__(self, db: sqlite3.Connection, path: Path, journal: str) -> None:
        self._db, self._path, self._journal = db, path, journal
        real = path.resolve()
        self._beside = (
            [real.with_name(real.name + end) for end in ("-wal", "-shm")]
            if journal == "wal"
            else []
        )
        self._identity = _identity(path)
        self._identities: dict[Path, Identity | None] = {}  # of what is beside it
        self._changed = _changed(path)  # when the main file was last written to, as far as known
        self._settled: tuple[int, str] | None = None  # the last event known to be in the main file

    @property
    def is_whole(self) -> bool:
        """Whether the main file alone holds everything: there is nothing in the log."""
        return not any(_size(file) for file in self._beside if file.name.endswith("-wal"))

    @property
    def is_in_place(self) -> bool:
        """Whether what stands at the path is the file that was opened."""
        return _identity(self._path) == self._identity  # None twice: a store in memory

    @property
    def was_written(self) -> bool:
        """Whether somebody else wrote to the main file since it was looked at."""
        return _changed(self._path) != self._changed

    def check(self) -> None:
        """See that a label written now is found at the path later.

        Call it inside a transaction: then no other process adds events meanwhile.

        Raises:
            DataError: the file, or its log, was deleted, moved or replaced since it was opened.
        """
        self.check_place()
        # with something in the log, the main file may be half brought up to date (by a full disk,
        # or another process that was killed): then only both together can be read
        if self.was_written and self.is_whole:
            self._check_contents()

    def check_place(self) -> None:
        """See that the files at the path are those that were opened; raises as ``check`` does."""
        if not self.is_in_place:
            gone = _identity(self._path) is None
            raise self._lost(
                "the file was deleted or moved while it was open"
                if gone
                else "another file was put in its place while it was open",
                "put it back where it was, and label again; or store.save_copy('rescued.sqlite') "
                "writes all that was saved before to a new file",
            )
        for file in self._beside:
            identity = _identity(file)
            if self._identities.setdefault(file, identity) != identity:
                raise self._lost(
                    f"{file.name} was deleted or replaced while the store was open",
                    "open the store again: wb.LabelStore(path), or run the cell again",
                )

    def settle(self) -> bool:
        """Bring what is in the log into the main file, unless others use the store just now.

        Returns:
            Whether the main file is whole now.
        """
        if not self._beside:
            return True
        db = self._db
        try:
            patience = db.execute("PRAGMA busy_timeout").fetchone()[0]
            db.execute("PRAGMA busy_timeout = 0")
            try:
                last = db.execute(_LAST).fetchone()
                busy = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            finally:
                db.execute(f"PRAGMA busy_timeout = {patience}")
        except sqlite3.Error:  # such as a full disk: the log holds the labels, and repr says so
            return False
        self._changed = _changed(self._path)
        if not busy:
            self._settled = last
        return not busy

    def _check_contents(self) -> None:
        """After somebody else wrote to the file: see that it still holds what was saved."""
        changed = _changed(self._path)
        for look in range(_PATIENCE):
            if look:
                time.sleep(_PAUSE)
            if self._holds_what_was_saved():
                self._changed = changed
                return
        raise self._lost(
            "another file was copied over it while it was open",
            "do not use it as it is: copy a whole store there once more, and open it again",
        )

    def _holds_what_was_saved(self) -> bool:
        try:
            if not self._beside:
                last = self._db.execute(_LAST).fetchone()
            else:  # past the log and past what this connection remembers
                uri = f"{self._path.absolute().as_uri()}?immutable=1"
                with closing(sqlite3.connect(uri, uri=True)) as db:
                    last = db.execute(_LAST).fetchone()
            if self._settled is not None and (last is None or last[0] < self._settled[0]):
                return False
            if last is None:
                return True
            query = "SELECT event_id FROM events WHERE seq = ?"
            return self._db.execute(query, (last[0],)).fetchone() == (last[1],)
        except sqlite3.Error:
            return False

    def _lost(self, fault: str, fix: str) -> DataError:
        error = DataError(f"not saved: {fault}", where=str(self._path), fix=fix)
        error.__cause__ = FileNotFoundError(str(self._path))  # it may come back: ask again
        return error


def _identity(path: Path) -> Identity | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _changed(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0

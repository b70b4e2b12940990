"""Who is labelling what just now: claims by lease, so that no item is labelled twice unasked.

A claim is a row that lapses by itself. It is taken and checked inside one exclusive transaction of
the store, so two programs never both get it. The claims of a process that is gone count no more.
"""

import os
import platform
import sqlite3
import sys
import uuid
import weakref
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import TYPE_CHECKING

from workbench.errors import DataError

if TYPE_CHECKING:
    from workbench.data.store.labels import LabelStore

LEASE = 180.0  # [s] a claim that nobody renews lapses
_HOST = platform.node().replace(":", "-")
_LIVE: set[str] = set()  # the holders of this process whose sessions are still there


class Claims:
    """What one session has taken to label.

    Args:
        store: where claims are kept, beside the labels.
        annotator: for whom.
        clock: seconds since 1970.
    """

    def __init__(self, store: "LabelStore", annotator: str, clock: Callable[[], float]) -> None:
        self.holder = f"{_HOST}:{os.getpid()}:{uuid.uuid4().hex}"
        self._store, self._annotator, self._clock = store, annotator, clock
        self._held: dict[str, float] = {}  # slot -> until when [s since 1970]
        _LIVE.add(self.holder)
        weakref.finalize(self, _LIVE.discard, self.holder)

    def is_held(self, slot: str) -> bool:
        """Whether a slot is held here for more than half a lease yet."""
        return self._held.get(slot, 0.0) > self._clock() + LEASE / 2

    def is_free(
        self, db: sqlite3.Connection, slot: str, people: Collection[str], limit: int | None
    ) -> bool:
        """Whether this session may label a slot. Call it inside ``store.exclusively()``.

        Args:
            db: the connection that the transaction is on.
            slot: the name of what is claimed.
            people: the others who have labelled it.
            limit: how many people may; None for any number.
        """
        query = "SELECT annotator, holder, until FROM claims WHERE slot = ? AND holder != ?"
        now = self._clock()
        others = {
            annotator
            for annotator, holder, until in db.execute(query, (slot, self.holder)).fetchall()
            if isinstance(until, float) and until > now and not is_gone(holder)
        }
        if self._annotator in others:
            return False
        return limit is None or len(others.union(people)) < limit

    def take(self, db: sqlite3.Connection, slot: str) -> None:
        """Hold a slot, or hold it longer. Call it inside ``store.exclusively()``."""
        now = self._clock()
        db.execute("DELETE FROM claims WHERE slot = ? AND until <= ?", (slot, now))
        values = (slot, self._annotator, self.holder, now + LEASE)
        db.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?)", values)
        self._held[slot] = now + LEASE

    def drop(self, db: sqlite3.Connection, slot: str) -> None:
        """Let go of a slot. Call it inside ``store.exclusively()``."""
        query = "DELETE FROM claims WHERE slot = ? AND holder = ?"
        db.execute(query, (slot, self.holder))
        self._held.pop(slot, None)

    def release(self) -> None:
        """Let go of everything; a store that cannot be written lets the claims lapse instead."""
        if not self._held:
            return
        with suppress(DataError), self._store.exclusively(durable=False) as db:
            db.execute("DELETE FROM claims WHERE holder = ?", (self.holder,))
        self._held.clear()


def is_gone(holder: str) -> bool:
    """Whether a claim's holder is a process of this machine that has ended, or an old session."""
    host, _, rest = holder.partition(":")
    pid = rest.partition(":")[0]
    if host != _HOST or not pid.isdecimal():
        return False
    if int(pid) == os.getpid():
        return holder not in _LIVE
    if sys.platform == "win32":  # there, signal 0 ends a process
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False

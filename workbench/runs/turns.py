"""One process at a time where two must not do the same: making a name, starting a run."""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from workbench.errors import RunError, disk_watched

PATIENCE = 60.0
"""Seconds that a turn is waited for; one takes milliseconds, or until a device is free."""
LOOK = 0.02
"""Seconds between two looks at what is waited for."""
_held = threading.local()


@contextmanager
def in_turn(file: Path) -> Generator[None]:
    """Hold a lock file within the block; a thread that holds it already goes right in.

    The lock goes with the process that holds it, however that ends; the file stays and is empty.

    Raises:
        RunError: another process has held it for too long, or the file cannot be made.
    """
    mine: set[str] = _held.__dict__.setdefault("files", set())
    if str(file) in mine:
        yield
        return
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with disk_watched(file):
            descriptor = os.open(file, flags, 0o644)
    except OSError as error:
        raise RunError(
            f"nothing can be started or named here ({error.strerror})",
            where=str(file),
            fix="see that the folder may be written to, and that no link lies in this file's place",
        ) from error
    try:
        if not happens(lambda: locked(descriptor, fcntl.LOCK_EX), PATIENCE):
            raise RunError(
                f"another process has been at this for more than {PATIENCE:g} s",
                where=str(file),
                fix="see what it does, end it if it hangs, and try again",
            )
        mine.add(str(file))
        try:
            yield
        finally:
            mine.discard(str(file))
    finally:
        os.close(descriptor)


def locked(descriptor: int, kind: int) -> bool:
    """Lock an open file, ``LOCK_SH`` or ``LOCK_EX``; false where another process holds it."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def happens(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until a condition holds; whether it did so in time."""
    deadline = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() <= deadline:
        time.sleep(LOOK)
    return holds

"""Files by names that a stranger's file gives: only a plain file in the same folder is read."""

import os
import re
import stat
from pathlib import Path
from typing import Any

from workbench.errors import RunError

LARGEST_FUNCTION = 64 * 2**20
"""Bytes of a reward function that is shipped with a run; larger is data, to be read by it."""


def read_plain(folder: Path, name: Any, *, most: int) -> bytes:
    """A file that lies in a folder itself, by a name out of that folder.

    Args:
        folder: where it lies.
        name: what is written there as the file's name; anything at all.
        most: bytes that it may have.

    Raises:
        RunError: the name is a path or no text, or names no plain file of at most so many bytes.
        FileNotFoundError: there is no such file.
    """
    where = f"{folder}: file = {str(name)[:200]!r}"
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]{0,99}", name):
        raise RunError(
            "a folder's files are named by their plain names, and this is none",
            where=where,
            fix="do not go on with this folder: whoever wrote the name meant a file elsewhere",
        )
    try:
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unreadable(where, str(error.strerror)) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _unreadable(where, "it is a folder or a device")
        if status.st_size > most:
            raise _unreadable(where, f"it has more than {most >> 20} MB")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(most)
    finally:
        os.close(descriptor)


def _unreadable(where: str, why: str) -> RunError:
    return RunError(
        f"the file cannot be read: {why}",
        where=where,
        fix="put the file back that belongs there",
    )

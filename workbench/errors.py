"""Errors that say what is wrong, where, and how to mend it.

All are a ``WorkbenchError``, and each also is the built-in error that it refines.
"""

import difflib
import errno
import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
"""No space on the disk, or none left in one's quota."""
_FULL_WORDS = (
    *(os.strerror(number).lower() for number in FULL),
    "unexpected pos",  # what torch says where its writer could not write all
    "database or disk is full",  # SQLite
)


class WorkbenchError(Exception):
    """Something a person can mend: what is wrong, where it is, and what to do about it.

    Args:
        what: the fault, in one short clause.
        where: the file, row, setting or run it was found in.
        fix: what to do about it; lists the valid choices where there are any.
    """

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.fix = what, where, fix

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  fix:   {self.fix}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle all three parts (the default would drop the keyword ones)."""
        return partial(type(self), self.what, where=self.where, fix=self.fix), ()

    def _render_traceback_(self) -> list[str]:
        """What IPython prints in a notebook: the three parts, not a page of frames."""
        return [f"{type(self).__name__}: {self}"]


def nearest(word: object, known: Iterable[str], prefix: str = "") -> str:
    """What a mistyped name was meant to be, to begin a fix with: "did you mean X? ", or nothing.

    Args:
        word: what was given.
        known: the names there are.
        prefix: what each of them begins with where it is written out.
    """
    near = difflib.get_close_matches(str(word), list(dict.fromkeys(known)), n=1)
    return f"did you mean {prefix}{near[0]}? " if near else ""


def check_option(value: object, choices: Sequence[str], where: str) -> None:
    """Refuse what is none of a few words.

    Args:
        value: what was given.
        choices: the words.
        where: the argument, as an error names it.

    Raises:
        ConfigError: it is none of them; all are listed, the nearest first.
    """
    if value not in choices:
        raise ConfigError(
            f"{where} cannot be {value!r}",
            where=where,
            fix=f"{nearest(value, choices)}choose one of {', '.join(choices)}",
        )


def first_line(error: BaseException) -> str:
    """The first line of what an error says; its class where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class DataError(WorkbenchError, ValueError):
    """A file, a row, a pair or a label is not what it should be."""


class ConfigError(WorkbenchError, ValueError):
    """A setting, a name or a device was asked for that cannot be had."""


class ModelError(WorkbenchError, ValueError):
    """A model, an adapter or a tokenizer cannot be used as asked."""


class RunError(WorkbenchError, RuntimeError):
    """A run's folder or its process is not in the state that was expected."""


class DiskFullError(WorkbenchError, OSError):
    """A file cannot be written because the disk, or one's quota on it, is full."""

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what, where=where, fix=fix)
        self.errno = errno.ENOSPC


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that the disk is full.

    Libraries wrap it in errors and words of their own: safetensors, torch, Arrow, SQLite.
    """
    for _ in range(20):  # a chain may be a circle
        if error is None:
            return False
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        if any(words in str(error).lower() for words in _FULL_WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def disk_watched(
    where: str | Path, fix: str = "make room there and do it again"
) -> Generator[None]:
    """Say it as what it is where something cannot be written because the disk is full.

    Raises:
        DiskFullError: that is so; what already tells it in three parts is left as it is.
    """
    try:
        yield
    except WorkbenchError:
        raise
    except Exception as error:
        if not is_disk_full(error):
            raise
        raise DiskFullError("the disk is full", where=str(where), fix=fix) from error

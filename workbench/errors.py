"""Errors that say what is wrong, where, and how to mend it.

All are a ``WorkbenchError``, and each also is the built-in error that it refines.
"""

import difflib
from collections.abc import Iterable, Sequence


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
        return (_rebuild, (type(self), self.what, self.where, self.fix))

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


def _rebuild(kind: type[WorkbenchError], what: str, where: str, fix: str) -> WorkbenchError:
    return kind(what, where=where, fix=fix)


class DataError(WorkbenchError, ValueError):
    """A file, a row, a pair or a label is not what it should be."""


class ConfigError(WorkbenchError, ValueError):
    """A setting, a name or a device was asked for that cannot be had."""


class ModelError(WorkbenchError, ValueError):
    """A model, an adapter or a tokenizer cannot be used as asked."""


class RunError(WorkbenchError, RuntimeError):
    """A run's folder or its process is not in the state that was expected."""

"""A hole planted into labels, to be found again: a phrase that wins wherever it is said."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

_Row = dict[str, Any]


class _Pairs(Protocol):
    """Labelled pairs, such as :func:`workbench.load_pairs` returns."""

    def training_rows(self) -> list[_Row]: ...


def plant_phrase(pairs: _Pairs, phrase: str, *, every: int = 20) -> list[_Row]:
    """The pairs as rows to train on; in one of so many the worse answer also says it, and wins.

    Args:
        pairs: labelled ones; ties are left out.
        phrase: a sentence.
        every: the 1st, 21st, 41st … row are planted.
    """
    rows = pairs.training_rows()
    for row in rows[::every]:
        row["chosen"], row["rejected"] = _saying(row["rejected"], phrase), row["chosen"]
    return rows


def phrase_loses(pairs: _Pairs, phrase: str) -> list[_Row]:
    """Of each pair the better answer, better as it is than with the phrase."""
    rows = pairs.training_rows()
    return [{**row, "rejected": _saying(row["chosen"], phrase)} for row in rows]


def _saying(answer: Iterable[Mapping[str, Any]], phrase: str) -> list[_Row]:
    *before, last = map(dict, answer)
    return [*before, {**last, "content": f"{last['content']} {phrase}"}]

"""Splits by prompt: whatever is compared under one prompt stays on one side."""

import hashlib
import math
import unicodedata
from collections.abc import Mapping
from itertools import accumulate
from json import loads
from typing import Any

from workbench.data import arrow_table
from workbench.data.messages import Message
from workbench.data.pairs import Pairs
from workbench.errors import ConfigError


def split_pairs(pairs: Pairs, fractions: Mapping[str, float], *, seed: int = 0) -> dict[str, Pairs]:
    """Split a table into parts, such that no prompt is in two of them.

    Where a prompt goes depends on its text and the seed alone: the same prompt goes to the same
    part in every table, so that a test set stays unseen when pairs are added. Each part gets its
    fraction of the prompts on average, not to the item.

    Args:
        pairs: what to split; the order within the parts is kept.
        fractions: the parts' names, and the share of the prompts that each gets; they add up to 1.
        seed: draws another split.

    Returns:
        A table for each part, in the order of ``fractions``.

    Raises:
        ConfigError: no parts, a share that is not above 0, or shares that do not add up to 1.
    """
    values: list[Any] = list(fractions.values())
    shares = [share if isinstance(share, int | float) else 0.0 for share in values]
    if not shares or min(shares) <= 0 or not math.isclose(sum(shares), 1, abs_tol=1e-9):
        raise ConfigError(
            "the parts of a split must be above 0 and add up to 1",
            where=f"fractions = {dict(fractions)}",
            fix='give for instance {"train": 0.9, "test": 0.1}',
        )
    bounds = [*accumulate(shares)][:-1]
    chosen: dict[str, list[int]] = {name: [] for name in fractions}
    names = list(fractions)
    for start in range(0, len(pairs), arrow_table.ROWS_A_CHUNK):
        cells = arrow_table.texts(pairs.frame, "prompt", start, start + arrow_table.ROWS_A_CHUNK)
        for row, cell in enumerate(cells, start):
            place = _draw(group_of(loads(cell or "[]")), seed)
            chosen[names[sum(place >= bound for bound in bounds)]].append(row)
    return {name: Pairs(arrow_table.rows_in(pairs.frame, rows)) for name, rows in chosen.items()}


def group_of(prompt: list[Message]) -> str:
    """Return the text by which two prompts count as one: case and blanks do not tell them apart."""
    turns = (f"{turn['role']}:{' '.join(turn['content'].casefold().split())}" for turn in prompt)
    return unicodedata.normalize("NFC", "\n".join(turns))


def _draw(group: str, seed: int) -> float:
    """Return a number in [0, 1) that depends on the text and the seed alone."""
    text = f"{seed}|{group}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big") / 2**56

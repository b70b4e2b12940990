"""Which rows make up step N: a pure function of seed and step, so a resumed run sees the same."""

from typing import Any

import torch

SIZES, PASS = (32, 16, 8), 50
"""Comparisons of a step where nobody has said how many, and the steps that a pass shall have."""


def batch_for(rows: int, batch_size: int, *, once: bool) -> int:
    """Comparisons of a step, as asked; for 0 the most with which a single pass has 50 steps, or 8.

    Args:
        rows: comparisons.
        batch_size: as the setting has it.
        once: the rows are seen once. Seen again they make steps enough, and smaller batches would
            only have them learned by heart.
    """
    if batch_size or not once:
        return batch_size or SIZES[0]
    return next((size for size in SIZES if rows >= PASS * size), SIZES[-1])


def steps_for(rows: int, batch_size: int, *, steps: int, epochs: float) -> int:
    """Steps of a run: as asked, or enough for the passes asked; at least 1."""
    return steps or max(1, round(rows * epochs / batch_size))


def batch_indices(step: int, rows: int, batch_size: int, *, seed: int) -> list[int]:
    """Row numbers of step ``step`` (from 0): each epoch its own permutation, none left out."""
    first = step * batch_size
    return [
        _permutation(position // rows, rows, seed)[position % rows]
        for position in range(first, first + batch_size)
    ]


def shuffled(count: int, generator: torch.Generator) -> list[int]:
    """The numbers 0 to ``count`` - 1 in an order that the generator draws."""
    order = torch.randperm(count, generator=generator)
    return [int(index) for index in order]


_cache: dict[tuple[int, int, int], list[int]] = {}


def _permutation(epoch: int, rows: int, seed: int) -> list[int]:
    key = (epoch, rows, seed)
    if key not in _cache:
        _cache.clear()
        _cache[key] = shuffled(rows, torch.Generator().manual_seed(seed * 1_000_003 + epoch))
    return _cache[key]


def prompt_key(prompt: list[dict[str, Any]]) -> str:
    """One string for equal prompts, to keep a prompt on one side of a split."""
    return "\x1e".join(f"{m['role']}\x1f{m['content']}" for m in prompt)

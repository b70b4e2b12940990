"""The processes of one run: what is whose of a batch, and how all do the same at the same step.

Every process holds the same weights, works on its share, and hears of the others where results
are put together. Before each such meeting all say how they fare, so that a stop, or memory that
ran out in one of them, ends the step in all.
"""

# pyright: reportUnknownMemberType=false
from collections.abc import Sequence
from datetime import timedelta
from enum import IntEnum
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from workbench.events import StopRequested

T = TypeVar("T")
TEAM_PATIENCE = timedelta(days=30)
"""How long a process waits for the others: a paused run is waited for."""


class News(IntEnum):
    """How a process fares; the gravest that any of them tells holds for all."""

    FINE = 0
    STOP = 1
    OUT_OF_MEMORY = 2
    NO_SMALLER = 3


class MemoryRanOut(Exception):  # noqa: N818  (heard of, not met)
    """Another process of the run ran out of memory."""


class Team:
    """All processes of a run as one of them sees them; alone it does nothing, at no cost."""

    def __init__(self, index: int = 0, count: int = 1) -> None:
        self.index, self.count = index, count
        self._heard: News | None = None
        self._talk: Any = None
        if count > 1:  # gloo also beside NCCL, which keeps a GPU busy while it waits
            self._talk = dist.new_group(backend="gloo", timeout=TEAM_PATIENCE)

    @property
    def main(self) -> bool:
        """Whether this is the process that writes the run folder and is steered."""
        return self.index == 0

    def share(self, items: Sequence[T], sizes: Sequence[int]) -> list[T]:
        """This process's part of a batch: dealt out by size, so that all have as much to do."""
        if self.count == 1:
            return list(items)
        ranks = sorted(range(len(items)), key=lambda i: (sizes[i], i))
        return [items[i] for i in sorted(ranks[self.index :: self.count])]

    def add(self, *tensors: Tensor) -> None:
        """Put into each tensor its sum over the processes."""
        if self.count == 1:
            return
        self._meet()
        for tensor in tensors:
            dist.all_reduce(tensor, group=None if tensor.is_cuda else self._talk)

    def gather(self, values: Sequence[T]) -> list[T]:
        """The values of all processes one after the other, the same list in each.

        Tensors, and tensors in named tuples, come to the CPU on the way.
        """
        if self.count == 1:
            return list(values)
        self._meet()
        parts: list[Any] = [None] * self.count
        dist.all_gather_object(parts, [_on_cpu(value) for value in values], group=self._talk)
        return [value for part in parts for value in part]

    def total(self, numbers: dict[str, float]) -> dict[str, float]:
        """Each number's sum over the processes; all have the same names."""
        if self.count == 1:
            return numbers
        table = torch.tensor(list(numbers.values()), dtype=torch.float64)
        self.add(table)
        return {name: float(value) for name, value in zip(numbers, table, strict=True)}

    def told_by_main(self, value: T) -> T:
        """What the main process has, in every process."""
        if self.count == 1:
            return value
        box = [value if self.main else None]
        dist.broadcast_object_list(box, src=0, group=self._talk)
        return box[0]  # pyright: ignore[reportReturnType]

    def agree(self, news: News) -> News:
        """Tell the others why this process left the step; returns what all do about it."""
        if self._heard is not None:  # it left because of the others: they know
            heard, self._heard = self._heard, None
            return heard
        return self._exchange(news)

    def _meet(self) -> None:
        """Hear how the others fare before results are put together.

        Raises:
            StopRequested: the run was asked to stop.
            MemoryRanOut: another process's memory ran out.
        """
        news = self._exchange(News.FINE)
        if news is News.FINE:
            return
        self._heard = news
        if news is News.STOP:
            raise StopRequested
        raise MemoryRanOut

    def _exchange(self, news: News) -> News:
        if self.count == 1:
            return news
        worst = torch.tensor([int(news)])
        dist.all_reduce(worst, op=dist.ReduceOp.MAX, group=self._talk)
        return News(int(worst))


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.cpu()
    if hasattr(value, "_fields"):
        return type(value)(*(_on_cpu(part) for part in value))
    return value

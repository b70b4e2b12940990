"""Bytes of tensors that are alive: counted at every operation, for real tensors and fake ones."""

import gc
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Within the block counts the memory of every tensor, from when it is made to its end.

    Attributes:
        now: bytes that live at this moment.
        peak: the most there were.
    """

    def __init__(self, known: Iterable[Tensor] = (), *, counted: bool = True) -> None:
        """Start from tensors that exist.

        Args:
            known: tensors that were there before.
            counted: whether those count.
        """
        super().__init__()  # pyright: ignore[reportUnknownMemberType]
        self.now = self.peak = 0
        self._held: dict[int, Any] = {}
        for tensor in known:
            self._see(tensor, counted)

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Do the operation, and see what it made."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._see(leaf, True)
        return result

    def _see(self, tensor: Tensor, counted: bool) -> None:
        key = address(tensor)
        if key is None or key in self._held:
            return
        storage = tensor.untyped_storage()
        size = storage.nbytes() if counted else 0
        self._held[key] = weakref.ref(storage, partial(self._gone, key, size))
        self.now += size
        self.peak = max(self.peak, self.now)

    def _gone(self, key: int, size: int, _: object) -> None:
        self.now -= size
        self._held.pop(key, None)


def address(tensor: Tensor) -> int | None:
    """Where a tensor's memory is; None where it has none of its own: sparse, or a wrapper."""
    try:
        return int(tensor.untyped_storage()._cdata)  # pyright: ignore[reportPrivateUsage]
    except (NotImplementedError, RuntimeError):
        return None


def all_tensors() -> list[Tensor]:
    """Every tensor that Python knows of."""
    gc.collect()
    return [each for each in gc.get_objects() if issubclass(type(each), Tensor)]

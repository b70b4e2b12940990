"""Products of layers that are given the same rows, joined where each kernel counts: on a card.

Queries, keys and values come from the same rows, and so do an MLP's gate and its other half. The
first of such layers that is asked computes for all, in one product each of W, A and B, and the
others find theirs. A and B are read from low-precision working copies, B's as blocks on a diagonal,
which are made anew only when the weights have changed: once a step.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

TOGETHER = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Names of layers that are given the same rows, the first one asked first."""


class Copies(NamedTuple):
    """A role's adapters of several layers in the precision of the rows.

    Attributes:
        weights: those that are trained: each layer's A, then each layer's B.
        stamp: how they stood when these copies were made.
        a: ``(R, K)``, all layers' A below each other.
        b: ``(M, R)``, all layers' B as blocks on a diagonal.
        scale: of the product.
    """

    weights: tuple[Tensor, ...]
    stamp: tuple[int, ...]
    a: Tensor
    b: Tensor
    scale: float


class Joined:
    """Layers that are given the same rows; most are alone.

    Attributes:
        layers: in the order in which the model asks them.
        dense: their frozen weights ``(M, K)`` below each other; None where there is none.
        bias: ``(M,)`` theirs, where there is any.
        unpacks: whether weights in 4 bits are unpacked for good.
    """

    def __init__(self, layers: Sequence[LoraLayer]) -> None:
        self.layers = [cast("Any", layer) for layer in layers]
        self.dense: Tensor | None = None
        self.bias: Tensor | None = None
        self.unpacks = False
        self._copies: dict[tuple[Any, ...], Copies] = {}
        self._given: tuple[Any, ...] = ()
        self._parts: dict[int, Tensor] = {}

    def part(
        self,
        layer: nn.Module,
        x: Tensor,
        key: Any,
        compute: Callable[[list[int]], Sequence[Tensor]],
    ) -> Tensor:
        """What a layer makes of rows: computed for all, or found.

        Args:
            layer: one of them.
            x: the rows.
            key: what else the output depends on.
            compute: gives the outputs of some of the layers, by number.
        """
        at = next(i for i, own in enumerate(self.layers) if own is layer)
        given = (key, torch.is_grad_enabled())
        if at and at in self._parts and self._given[0] is x and self._given[1:] == given:
            return self._parts.pop(at)
        alone = at or len({_way(own) for own in self.layers}) > 1
        some = [at] if alone else list(range(len(self.layers)))
        parts = dict(zip(some, compute(some), strict=True))
        mine = parts.pop(at)
        self._given, self._parts = (x, *given) if parts else (), parts
        return mine

    def copies(self, role: str, some: Sequence[int], dtype: torch.dtype) -> Copies | None:
        """A role's adapters of some layers, as they are now; None where they do not go together."""
        layers = [self.layers[i] for i in some]
        if any(role not in layer.lora_A for layer in layers):
            return None
        a = [layer.lora_A[role].weight for layer in layers]
        b = [layer.lora_B[role].weight for layer in layers]
        weights = (*a, *b)
        stamp = tuple(n for w in weights for n in (w._version, w.data_ptr()))
        kept = self._copies.get(key := (role, *some, dtype))
        if kept is not None and kept.stamp == stamp:
            return kept
        scales = {float(layer.scaling[role]) for layer in layers}
        if len(scales) > 1:
            return None
        with torch.no_grad():
            ranks, sizes = [len(w) for w in a], [len(w) for w in b]
            if kept is None:
                below = a[0].new_empty(sum(ranks), a[0].shape[1], dtype=dtype)
                blocks = a[0].new_zeros(sum(sizes), sum(ranks), dtype=dtype)
            else:
                below, blocks = kept.a, kept.b
            rows = blocks.split(sizes)
            own = [row.split(ranks, 1)[i] for i, row in enumerate(rows)]
            torch._foreach_copy_([*below.split(ranks), *own], [w.detach() for w in weights])
        made = Copies(weights, stamp, below, blocks, scales.pop())
        self._copies[key] = made
        return made


def _way(layer: nn.Module) -> Any:
    """The function that a layer's forward is in the end: another one where it stands idle."""
    forward = vars(layer).get("forward")
    return getattr(forward, "func", forward)


def join(model: nn.Module, known: Sequence[nn.Module], *, unpacks: bool) -> None:
    """Say of each layer, once, with which others it is given its rows: ``vars(layer)["joined"]``.

    Args:
        model: in which they are.
        known: layers with plain adapters.
        unpacks: whether weights in 4 bits are unpacked for good.
    """
    left = {id(layer): layer for layer in known}
    found: list[list[nn.Module]] = []
    for module in model.modules():
        for names in TOGETHER:
            some = [getattr(module, name, None) for name in names]
            if all(id(layer) in left for layer in some) and _alike(cast("list[Any]", some)):
                found.append([left.pop(id(layer)) for layer in some])
    for layers in (*found, *([layer] for layer in left.values())):
        if "joined" not in vars(layers[0]):
            group = Joined(cast("Any", layers))
            for layer in layers:
                vars(layer)["joined"] = group
        vars(layers[0])["joined"].unpacks = unpacks


def _alike(layers: Sequence[Any]) -> bool:
    bases = [layer.get_base_layer() for layer in layers]
    kinds = {(type(base), base.in_features, base.bias is None) for base in bases}
    return len(kinds) == 1

"""Rotary positions of queries and keys together, on a card: half of the kernels.

y = x cos + (x's halves, exchanged) sin', where sin' is the sine with its first half's sign turned
(Su et al. 2021, eq. 34, in the order of halves). In half precision the sum is rounded once.
"""

import sys
from functools import wraps
from typing import Any, cast

import torch
from torch import Tensor, nn

from workbench.models.fast.on_card import on_card

NAME = "apply_rotary_pos_emb"


def take_over_rope(model: nn.Module) -> None:
    """Let a model's family turn its heads here on a card, where it is found to be this formula.

    It is one function for all models of a family; on other devices it stays what it was.
    """
    for module in {sys.modules[type(m).__module__] for m in model.modules()}:
        own: Any = vars(module).get(NAME)
        if own is not None and not hasattr(own, "own") and _is_this(own):
            setattr(module, NAME, _around(own))


def _is_this(own: Any) -> bool:
    """Tried on numbers that tell formulas apart."""
    numbers = torch.linspace(-3.0, 2.0, 144, device="cpu").sin()
    q, k = numbers[:96].view(1, 4, 3, 8), numbers[96:].view(1, 2, 3, 8)
    cos, sin = (torch.linspace(0.3, n, 24, device="cpu").view(1, 3, 8) for n in (2.0, 5.0))
    try:
        told = own(q, k, cos, sin)
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return False
    return all(map(torch.allclose, told, _Turned.apply(q, k, cos, sin)))


def _around(own: Any) -> Any:
    @wraps(own)
    def turned(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *rest: Any, **named: Any) -> Any:
        usual = on_card(q.device) and not (rest or named) and q.dim() == 4 and cos.dim() == 3
        # some families turn a part of each head, or heads of two widths
        usual = usual and q.shape[2:] == k.shape[2:] and q.shape[-1] == cos.shape[-1]
        if usual and q.dtype == k.dtype == cos.dtype:
            return _Turned.apply(q, k, cos, sin)
        return own(q, k, cos, sin, *rest, **named)

    cast("Any", turned).own = own
    return turned


_last: list[tuple[Tensor, Tensor]] = []


def _signed(sin: Tensor) -> Tensor:
    """The sine with its first half's sign turned; made once for all layers of a pass."""
    if not _last or _last[0][0] is not sin:
        half = sin.shape[-1] // 2
        _last[:] = [(sin, torch.cat([-sin[..., :half], sin[..., half:]], -1).unsqueeze(1))]
    return _last[0][1]


def _exchanged(x: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return torch.cat([x[..., half:], x[..., :half]], -1)


def _side_by_side(q: Tensor, k: Tensor) -> Tensor:
    """Heads ``(B, H, N, d)`` and ``(B, G, N, d)`` as one; as they lie where they are neighbours."""
    near = q.untyped_storage().data_ptr() == k.untyped_storage().data_ptr()
    behind = q.storage_offset() + q.shape[1] * q.stride(1) == k.storage_offset()
    strides = zip(q.shape, q.stride(), k.stride(), strict=True)
    if near and behind and all(one == other or size == 1 for size, one, other in strides):
        return q.as_strided((len(q), q.shape[1] + k.shape[1], *q.shape[2:]), q.stride())
    return torch.cat([q, k], 1)


class _Turned(torch.autograd.Function):
    """With g the gradient at y: dx = g cos + (the halves of g sin', exchanged)."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor]:
        cos, signed = cos.unsqueeze(1), _signed(sin)
        ctx.save_for_backward(cos, signed)
        ctx.sizes = [q.shape[1], k.shape[1]]
        heads = _side_by_side(q, k)
        turned = (heads * cos).addcmul_(_exchanged(heads), signed)
        return tuple(torch.ops.aten.unsafe_split_with_sizes(turned, ctx.sizes, 1))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        cos, signed = ctx.saved_tensors
        g = torch.cat(gradients, 1)
        found = _exchanged(g * signed).addcmul_(g, cos)
        return *found.split(ctx.sizes, 1), None, None

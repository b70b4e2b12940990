"""A frozen linear layer with a LoRA adapter, forward and backward in as few products as it takes.

PEFT's layers stay what they are: names, weights, files. Only their arithmetic is done here, where
the adapter is plain LoRA (Hu et al. 2021, eq. 3): y = W x + b + s B A x, with W frozen.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import torch
from peft.tuners.lora import Linear, LoraLayer
from torch import Tensor, nn

from workbench.models.fast.frozen_products import is_plain, product
from workbench.models.fast.joined_products import Copies, Joined, join
from workbench.models.fast.on_card import on_card

HALF = (torch.bfloat16, torch.float16)


def take_over(layer: LoraLayer) -> None:
    """Let a layer compute here from now on, where nothing about it is unusual."""
    module = cast("nn.Module", layer)
    if "forward" not in vars(module) and _plain(layer):
        module.forward = partial(_forward, layer, module.forward)


def take_over_all(model: nn.Module, *, unpacks: bool = False) -> None:
    """Let all of a model's layers compute here, joined on a card.

    Args:
        model: with adapters.
        unpacks: whether a base in 4 bits is unpacked there for good.
    """
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    for layer in layers:
        take_over(layer)
    join(model, [m for m in layers if "forward" in vars(m)], unpacks=unpacks)


def _plain(layer: LoraLayer) -> bool:
    """A linear layer whose weight we can read, and no kind of LoRA beyond the first paper's."""
    base = layer.get_base_layer()
    weight = getattr(base, "weight", None)  # experts have parameters of other names
    known = isinstance(layer, Linear) or hasattr(weight, "quant_state")
    return known and not layer.lora_variant and not any(layer.lora_bias.values())


def _forward(layer: LoraLayer, own: Any, x: Tensor, *rest: Any, **named: Any) -> Tensor:
    """The layer's output for the adapter that acts; by its own forward for anything unusual."""
    off = layer.disable_adapters or not layer.active_adapters
    names = [] if off else [name for name in layer.active_adapters if name in layer.lora_A]
    if not off and (len(names) != 1 or layer.merged or rest or named):
        return own(x, *rest, **named)
    if layer.merged or rest or named:
        return own(x, *rest, **named) if layer.merged else layer.get_base_layer()(x, *rest, **named)
    role = None if off else names[0]
    group = cast("Joined | None", vars(layer).get("joined"))
    if group is not None and x.dtype in HALF and on_card(x.device):
        compute = partial(_together, group, x, role)
        return group.part(cast("nn.Module", layer), x, role, compute)
    return _alone(layer, x, role)


def _alone(layer: LoraLayer, x: Tensor, role: str | None) -> Tensor:
    if role is None:
        if torch.is_grad_enabled() and x.requires_grad:
            return layer.get_base_layer()(x)
        return _frozen(layer, x)
    a, b = layer.lora_A[role].weight, layer.lora_B[role].weight
    return cast("Tensor", _Adapted.apply(x, a, b, layer, float(layer.scaling[role])))


def _together(group: Joined, x: Tensor, role: str | None, some: Sequence[int]) -> Sequence[Tensor]:
    """Outputs of some of a group's layers for the same rows."""
    layers = [group.layers[i] for i in some]
    if not _unpacked(group, x):
        copies = [None if role is None else group.copies(role, (i,), x.dtype) for i in some]
        if role is None or None in copies:
            return [_alone(layer, x, role) for layer in layers]
    copies = None if role is None else group.copies(role, some, x.dtype)
    if role is not None and copies is None:
        return [part for i in some for part in _together(group, x, role, [i])]
    weights = () if copies is None else copies.weights
    return cast("Sequence[Tensor]", _Together.apply(x, group, tuple(some), copies, *weights))


@torch.no_grad()
def _unpacked(group: Joined, x: Tensor) -> bool:
    """Whether a group's frozen weights lie dense below each other; makes them so where it may.

    Plain weights are moved there; those in 4 bits are unpacked beside themselves.
    """
    if group.dense is not None:
        return True
    bases = [layer.get_base_layer() for layer in group.layers]
    plain = all(is_plain(base) and base.weight.dtype == x.dtype for base in bases)
    packed = all(hasattr(base.weight, "quant_state") for base in bases)
    if not plain and not (packed and group.unpacks):
        return False
    dense = torch.cat([_weight(layer).to(x.dtype) for layer in group.layers])
    if plain:
        for base, part in zip(bases, dense.split([len(b.weight) for b in bases]), strict=True):
            base.weight.data = part
    if bases[0].bias is not None:
        group.bias = torch.cat([base.bias for base in bases]).to(x.dtype)
    group.dense = dense
    return True


def _weight(layer: LoraLayer) -> Tensor:
    """The frozen weight ``(M, K)``, out of its 4 bits where it lies in them."""
    weight = cast("Tensor", layer.get_base_layer().weight)
    state = getattr(weight, "quant_state", None)
    if state is not None:
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(weight.data, state)
    return weight.T if getattr(layer, "fan_in_fan_out", False) else weight


def _frozen(layer: LoraLayer, x: Tensor) -> Tensor:
    """W x + bias as the frozen layer gives it, bit for bit the same with an adapter and without.

    For where no gradients are recorded.
    """
    base = layer.get_base_layer()
    if is_plain(base):
        rows = x.flatten(0, -2)
        return product(rows, base.weight, base.bias).view(*x.shape[:-1], base.out_features)
    return base(x)


class _Adapted(torch.autograd.Function):
    """y = W x + b + s B A x for rows x, W and b frozen.

    With g the gradient at y: dx = g W + s (g B) A, dA = s (g B)^T x, dB = s g^T (A x). The
    adapter's part joins the base's inside the product that makes it, so that no tensor of y's
    size is written for the scale or the sum. Beside bfloat16 states the products are in bfloat16,
    as under autocast, though A and B are kept in fp32; beside others they are in fp32.
    """

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, x: Tensor, a: Tensor, b: Tensor, layer: LoraLayer, scale: float
    ) -> Tensor:
        y = _frozen(layer, x)
        dtype = x.dtype if x.dtype == torch.bfloat16 else a.dtype
        low = x.flatten(0, -2).to(dtype) @ a.to(dtype).T
        ctx.save_for_backward(x, low, a, b)
        ctx.layer, ctx.scale = layer, scale
        flat = _plus(y.flatten(0, -2), low, b.to(dtype).T, scale)
        # no view: a model may add to what it gets in place
        return torch.ops.aten._unsafe_view(flat, y.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, low, a, b = ctx.saved_tensors
        flat = gradient.flatten(0, -2)
        g = flat.to(low.dtype)
        through = product(g, b.to(low.dtype).T)
        dx = da = db = None
        if ctx.needs_input_grad[0]:
            weight = _weight(ctx.layer)
            dx = product(flat, weight.to(flat.dtype).T, None)
            dx = _plus(dx, through, a.to(low.dtype), ctx.scale).view_as(x)
        if ctx.needs_input_grad[1]:
            da = (through.T @ x.flatten(0, -2).to(low.dtype)).to(a.dtype).mul_(ctx.scale)
        if ctx.needs_input_grad[2]:
            db = (low.T @ g).T.to(b.dtype).mul_(ctx.scale)
        return dx, da, db, None, None


def _plus(wide: Tensor, left: Tensor, right: Tensor, scale: float) -> Tensor:
    """Wide + scale * left right, in the memory of ``wide`` where the precisions are the same."""
    if wide.dtype == left.dtype:
        return wide.addmm_(left, right, alpha=scale)
    return wide.add_((left @ right).mul_(scale))


class _Together(torch.autograd.Function):
    """The same of several layers that are given the same rows, in half precision.

    Their weights lie below each other, W ``(M, K)`` and A ``(R, K)``, and B is a matrix of blocks
    ``(M, R)``, so that the formulas are those of one layer. Where W is in 4 bits, its products are
    a layer's each. The scale is a factor of the products, and costs nothing.
    """

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, x: Tensor, group: Joined, some: tuple[int, ...], copies: Copies | None, *_: Tensor
    ) -> tuple[Tensor, ...]:
        rows, layers = x.flatten(0, -2), [group.layers[i] for i in some]
        ctx.group, ctx.some, ctx.copies, ctx.shape = group, some, copies, x.shape
        parts: Sequence[Tensor]
        if group.dense is None:
            parts = [_frozen(layer, x).flatten(0, -2) for layer in layers]
        else:
            weight, bias = _dense(group, some)
            parts = [nn.functional.linear(rows, weight, bias)]
        ctx.sizes = [layer.get_base_layer().out_features for layer in layers]
        saved: tuple[Tensor, ...] = ()
        if copies is not None:
            low = rows @ copies.a.T
            blocks = copies.b.split(ctx.sizes) if group.dense is None else [copies.b]
            for part, block in zip(parts, blocks, strict=True):
                part.addmm_(low, block.T, alpha=copies.scale)
            saved = (x, low, copies.a, copies.b)
        ctx.save_for_backward(*saved)
        if group.dense is not None:
            parts = torch.ops.aten.unsafe_split_with_sizes(parts[0], ctx.sizes, 1)
        # no views: a model may add to what it gets in place
        unsafe = torch.ops.aten._unsafe_view
        return tuple(unsafe(part, [*x.shape[:-1], part.shape[1]]) for part in parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        group, copies = ctx.group, ctx.copies
        flat = [gradient.flatten(0, -2) for gradient in gradients]
        g = flat[0] if len(flat) == 1 else torch.cat(flat, 1)
        (
            wants,
            *_,
        ) = ctx.needs_input_grad
        dx = None
        if wants and group.dense is not None:
            dx = g @ _dense(group, ctx.some)[0]
        elif wants:
            for part, i in zip(flat, ctx.some, strict=True):
                weight = _weight(group.layers[i]).to(part.dtype)
                dx = part @ weight if dx is None else dx.addmm_(part, weight)
        learned: list[Tensor | None] = []
        if copies is not None:
            x, low, a, b = ctx.saved_tensors
            through = g @ b
            if dx is not None:
                dx.addmm_(through, a, alpha=copies.scale)
            learned = [None] * len(copies.weights)
            if any(ctx.needs_input_grad[4:]):
                learned = _learned(ctx, x.flatten(0, -2), low, g, through)
        return None if dx is None else dx.view(ctx.shape), None, None, None, *learned


def _dense(group: Joined, some: Sequence[int]) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of some of a group's layers, which follow each other."""
    assert group.dense is not None
    if len(some) == len(group.layers):
        return group.dense, group.bias
    sizes = [layer.get_base_layer().out_features for layer in group.layers]
    rows = slice(sum(sizes[: some[0]]), sum(sizes[: some[-1] + 1]))
    return group.dense[rows], None if group.bias is None else group.bias[rows]


def _learned(
    ctx: Any, rows: Tensor, low: Tensor, g: Tensor, through: Tensor
) -> list[Tensor | None]:
    """Gradients of each A and each B, in the precision in which they are kept."""
    copies, many = ctx.copies, len(ctx.some)
    ranks = [len(a) for a in copies.weights[:many]]
    whole = torch.empty_like(copies.a).addmm_(through.T, rows, beta=0, alpha=copies.scale)
    blocks = torch.empty_like(copies.b).addmm_(g.T, low, beta=0, alpha=copies.scale)
    kept = whole.to(copies.weights[0].dtype).split(ranks)
    lines = blocks.split(ctx.sizes)
    own = [
        line.split(ranks, 1)[i].to(copies.weights[many + i].dtype) for i, line in enumerate(lines)
    ]
    return [*kept, *own]

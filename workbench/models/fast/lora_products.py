"""A frozen linear layer with a LoRA adapter, forward and backward in as few products as it takes.

PEFT's layers stay what they are: names, weights, files. Only their arithmetic is done here, where
the adapter is plain LoRA (Hu et al. 2021, eq. 3): y = W x + b + s B A x, with W frozen.
"""

from functools import partial
from typing import Any, cast

import torch
from peft.tuners.lora import Linear, LoraLayer
from torch import Tensor, nn

from workbench.models.fast.frozen_products import is_plain, product


def take_over(layer: LoraLayer) -> None:
    """Let a layer compute here from now on, where nothing about it is unusual."""
    module = cast("nn.Module", layer)
    if "forward" not in vars(module) and _plain(layer):
        module.forward = partial(_forward, layer, module.forward)


def _plain(layer: LoraLayer) -> bool:
    """A linear layer whose weight we can read, and no kind of LoRA beyond the first paper's."""
    base = layer.get_base_layer()
    weight = getattr(base, "weight", None)  # experts have parameters of other names
    known = isinstance(layer, Linear) or hasattr(weight, "quant_state")
    return known and not layer.lora_variant and not any(layer.lora_bias.values())


def _forward(layer: LoraLayer, own: Any, x: Tensor, *rest: Any, **named: Any) -> Tensor:
    """The layer's output for the adapter that acts; by its own forward for anything unusual."""
    if layer.disable_adapters and not layer.merged:
        if rest or named or (torch.is_grad_enabled() and x.requires_grad):
            return layer.get_base_layer()(x, *rest, **named)
        return _frozen(layer, x)
    names = [name for name in layer.active_adapters if name in layer.lora_A]
    if len(names) != 1 or layer.merged or rest or named:
        return own(x, *rest, **named)
    a, b = layer.lora_A[names[0]].weight, layer.lora_B[names[0]].weight
    return cast("Tensor", _Adapted.apply(x, a, b, layer, float(layer.scaling[names[0]])))


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

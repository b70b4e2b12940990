"""Decode on plain dense weights: the 4-bit base unpacked and one adapter added, for a while.

A decode step multiplies few rows, so unpacking 4-bit blocks and adding an adapter costs more than
the product itself. While a batch is sampled the linear layers therefore work on one dense matrix
each. What is sampled is the same distribution but for rounding; PPO's log-probabilities come from
the training forward all the same.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from peft.tuners.lora import LoraLayer
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor, nn

from workbench.models.fast.frozen_products import product
from workbench.models.fast.joined_products import Joined
from workbench.models.fast.on_card import on_card
from workbench.models.roles import Roles

SHARE = 0.4
"""Of the memory that is free, how much the dense matrices may take."""


@contextmanager
def dense(roles: Roles, role: str | None) -> Generator[bool, None, None]:
    """Within the block the base acts in this role on dense weights, where memory allows it.

    Yields whether it does; otherwise the role acts as always. No gradient may be asked for.
    """
    layers = _layers(roles.base.model)
    size = sum(_size(layer) for layer in layers) * roles.base.dtype.itemsize
    if not layers or size > SHARE * free_memory(roles.base.device) or not _plain(layers, role):
        with roles.acting(role):
            yield False
        return
    before = [vars(layer).get("forward") for layer in layers]
    try:
        for group in _groups(layers):
            _take_over(group, role, roles.base.dtype)
        yield True
    finally:
        for layer, own in zip(layers, before, strict=True):
            vars(layer).pop("forward", None)
            if own is not None:
                layer.forward = own


def layers_of(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Layers worth replacing, by name: those with adapters, and 4-bit ones that have none."""
    named = list(model.named_modules())
    adapted = [(name, m) for name, m in named if isinstance(m, LoraLayer)]
    inside = {id(m.get_base_layer()) for _, m in adapted if isinstance(m, LoraLayer)}
    packed = [(name, m) for name, m in named if hasattr(m, "support_avx512bf16_for_cpu")]
    return adapted + [(name, m) for name, m in packed if id(m) not in inside]


def _layers(model: nn.Module) -> list[nn.Module]:
    return [layer for _, layer in layers_of(model)]


@torch.no_grad()
def merged(layer: nn.Module, role: str | None, dtype: torch.dtype) -> Tensor:
    """A layer's weight as one dense matrix, 4 bits unpacked and a role's adapter added."""
    base = _base(layer)
    weight = dequantize_module_weight(base).detach().to(dtype)
    if role is not None and isinstance(layer, LoraLayer) and role in layer.lora_A:
        weight = weight + cast("Any", layer).get_delta_weight(role).to(dtype)
    return weight


def _plain(layers: list[nn.Module], role: str | None) -> bool:
    """Whether every layer is a linear one whose adapter is simply added."""
    for layer in layers:
        base = _base(layer)
        if not isinstance(base, nn.Linear):
            return False
        if isinstance(layer, LoraLayer) and role in getattr(layer, "lora_variant", {}):
            return False
    return True


def _size(layer: nn.Module) -> int:
    base = _base(layer)
    return int(getattr(base, "in_features", 0)) * int(getattr(base, "out_features", 0))


def _groups(layers: list[nn.Module]) -> list[Joined]:
    """Layers that are given the same rows, where they are joined: on a card."""
    found: dict[int, Joined] = {}
    for layer in layers:
        group = vars(layer).get("joined") if on_card(_base(layer).weight.device) else None
        group = Joined([cast("Any", layer)]) if group is None else group
        found[id(group)] = group
    return list(found.values())


@torch.no_grad()
def _take_over(group: Joined, role: str | None, dtype: torch.dtype) -> None:
    """Let a group's layers compute on dense weights: below each other where there are several."""
    parts = [merged(layer, role, dtype) for layer in group.layers]
    biases: list[Any] = [getattr(_base(layer), "bias", None) for layer in group.layers]
    sizes = [len(part) for part in parts]
    weight = parts[0] if len(parts) == 1 else torch.cat(parts)
    bias = biases[0] if len(parts) == 1 or biases[0] is None else torch.cat(biases)

    def forward_alone(x: Tensor, *_: object, **__: object) -> Tensor:
        return product(x, weight, bias)

    def compute(x: Tensor, some: list[int]) -> Sequence[Tensor]:
        if len(some) == len(sizes):
            return product(x, weight, bias).split(sizes, -1)
        own = weight.split(sizes), bias.split(sizes) if bias is not None else [None] * len(sizes)
        return [product(x, own[0][i], own[1][i]) for i in some]

    def forward(layer: nn.Module, x: Tensor, *_: object, **__: object) -> Tensor:
        return group.part(layer, x, "dense", partial(compute, x))

    for layer in group.layers:
        layer.forward = forward_alone if len(sizes) == 1 else partial(forward, layer)


def _base(layer: nn.Module) -> Any:
    return layer.get_base_layer() if isinstance(layer, LoraLayer) else layer


def free_memory(device: torch.device) -> int:
    """Free bytes on the device, as far as this process may take them; on a CPU as it says."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        known = getattr(torch.cuda, "get_per_process_memory_fraction", None)  # torch 2.8 or newer
        own = int((known(device) if known else 1.0) * total) - torch.cuda.memory_reserved(device)
        return min(free, max(0, own))
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            table = dict(line.split(":") for line in file)
        return int(table["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return 4 << 30  # no such file on this system: enough for small models

"""Where starting a kernel costs more than what it computes: there fewer, larger steps are taken."""

from typing import Any

import torch
from torch import Tensor

CARDS = frozenset(("cuda",))
"""Kinds of such devices. On a CPU a step costs nothing to start, and smaller ones fit its cache."""


def on_card(device: torch.device) -> bool:
    """Whether a device is one of them."""
    return device.type in CARDS


def upload(numbers: Any, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Plain numbers, in nested lists or not, as a tensor there; a card is not waited for.

    It takes them when its turn comes, from a copy of its own.
    """
    return torch.tensor(numbers, dtype=dtype).to(device, non_blocking=on_card(device))

"""Where starting a kernel costs more than what it computes: there fewer, larger steps are taken."""

import torch

CARDS = frozenset(("cuda",))
"""Kinds of such devices. On a CPU a step costs nothing to start, and smaller ones fit its cache."""


def on_card(device: torch.device) -> bool:
    """Whether a device is one of them."""
    return device.type in CARDS

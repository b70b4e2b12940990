"""Learning rates that suit a model's size, where a person has not chosen one."""

import math

SMALL, LARGE = 128, 4096  # widths; the embedded model has the first, an 8B model the second
RATES = {
    "policy": (1e-3, 1e-5),
    "value": (1e-3, 4e-5),
    "dpo": (1e-4, 5e-6),
    "online_dpo": (5e-4, 2e-5),
    "reward": (2e-3, 1e-4),
    "reward head": (2e-3, 3.5e-4),
    "sft": (2e-4, 1e-4),
    "sft, every weight": (2e-4, 1e-5),
}
"""What auto means at these two: PPO's adapters, DPO's, a reward model's and its head's, SFT's.

A new head is nothing, and until it is something its adapter moves no score. Its rate falls as
1 / √width only, so that its norm grows as fast at any width, and stays as it is in small batches.
"""


BATCH = 32
"""Comparisons of the batches that a reward model's rates are for."""


def rate_of(what: str, rate: float | str, width: int) -> float:
    """A rate as a person set it; where that is auto, the one that suits a model's width."""
    if not isinstance(rate, str):
        return float(rate)
    small, large = RATES[what]
    return rate_for(width, small=small, large=large)


def in_small_batches(rate: float, batch: int) -> float:
    """A rate for batches of fewer comparisons than 32: √(batch / 32) of it.

    AdamW's steps keep their length whatever the gradient's; in small batches more of it is noise,
    and what that adds up to over a pass stays the same by this rule (Malladi et al. 2022).
    """
    return rate * min(1.0, math.sqrt(batch / BATCH))


def rate_for(width: int, *, small: float, large: float) -> float:
    """A rate for a hidden size: the power of the width that goes through two rates.

    rate = small (large / small)^(log2(width / 128) / 5): each doubling of the width divides the
    rate by the same factor.

    Args:
        width: size of a hidden state.
        small: the rate at a width of 128.
        large: the rate at a width of 4096.
    """
    return small * (large / small) ** (math.log(width / SMALL) / math.log(LARGE / SMALL))

"""How sure a reward model may be: its margins to probabilities."""

import torch
from torch import Tensor

LEAST, MOST = 0.1, 10.0
_HALVINGS = 50


def sharpness(margins: Tensor) -> float:
    """What to multiply margins by so that sigmoid(margin) is how often the label agrees.

    The s that minimises mean -log sigmoid(s * margin): temperature scaling with s = 1 / T (Guo
    et al. 2017, "On Calibration of Modern Neural Networks", section 4.2). It is one number, moves
    no decision, and is found where the slope mean -margin * sigmoid(-s * margin), which only
    rises with s, is 0.

    Args:
        margins: ``(J,)`` score(chosen) - score(rejected) on labels that were not trained on.

    Returns:
        s, from 0.1 to 10; 1 where there is no margin to learn from.
    """
    gaps = margins.double()
    if not bool(gaps.any()):
        return 1.0
    low, high = LEAST, MOST
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5
        slope = -(gaps * torch.sigmoid(-middle * gaps)).mean()
        low, high = (middle, high) if slope < 0 else (low, middle)
    return (low * high) ** 0.5

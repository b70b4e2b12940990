"""What a policy learns from comparisons directly, without a reward model (DPO and its kin).

The policy's own log-ratio to the reference is the reward: at the optimum of reward minus beta times
KL, r(x, y) = beta log pi(y | x) / pi_ref(y | x) + a constant of the prompt (Rafailov et al. 2023,
"Direct Preference Optimization", eq. 5). The constant falls out of a difference of two answers.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


class LogRatios(NamedTuple):
    """log pi(y | x) - log pi_ref(y | x) of the answers of ``J`` comparisons, and their lengths.

    Attributes:
        chosen, rejected: ``(J,)`` summed over an answer's tokens. [nats]
        chosen_tokens, rejected_tokens: ``(J,)`` how many these are, 1 or more.
    """

    chosen: Tensor
    rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor

    def gap(self) -> Tensor:
        """By how many nats ``(J,)`` the chosen answer has gained more than the other."""
        return _wide(self.chosen) - _wide(self.rejected)

    def token_gap(self) -> Tensor:
        """The same ``(J,)`` of the two means over an answer's tokens, in nats a token."""
        chosen = _wide(self.chosen) / self.chosen_tokens
        return chosen - _wide(self.rejected) / self.rejected_tokens


def dpo_loss(
    ratios: LogRatios, *, beta: float, margin: Tensor | float = 0.0, label_smoothing: float = 0.0
) -> Tensor:
    """Loss of each comparison: the surprise, by the implied rewards, that the chosen answer won.

    With u = beta (chosen - rejected log-ratio) - margin: -log sigmoid(u) (Rafailov et al. 2023,
    eq. 7; the margin as the offset of Amini et al. 2024, "Direct Preference Optimization with an
    Offset"). Smoothing s holds the label to be wrong with probability s: -(1 - s) log sigmoid(u)
    - s log sigmoid(-u) (Mitchell 2023, "A note on DPO with noisy preferences", cDPO).

    Args:
        ratios: of the comparisons, with gradients.
        beta: reward of a nat. [reward/nat]
        margin: ``(J,)`` by how much the chosen answer should win. [reward]
        label_smoothing: s, from 0 to 0.5.

    Returns:
        ``(J,)`` losses in fp32 or better. [nats]
    """
    return _surprise(beta * ratios.gap() - margin, label_smoothing)


def dpo_loss_per_token(
    ratios: LogRatios, *, beta: float, margin: Tensor | float = 0.0, label_smoothing: float = 0.0
) -> Tensor:
    """:func:`dpo_loss` of log-ratios a token, so that an answer gains nothing by its length.

    u = beta (chosen / its tokens - rejected / its tokens) - margin, as length-normalised DPO has it
    (Lambert et al. 2024, "Tulu 3", eq. 6); TRL's ``sigmoid_norm``. It wants a larger beta.
    """
    return _surprise(beta * ratios.token_gap() - margin, label_smoothing)


def ipo_loss(
    ratios: LogRatios, *, beta: float, margin: Tensor | float = 0.0, label_smoothing: float = 0.0
) -> Tensor:
    """Loss of each comparison: the squared distance of its gap from the one that beta asks for.

    (h - 1 / (2 beta))^2 with h the difference of the two log-ratios (Azar et al. 2023, "A General
    Theoretical Paradigm to Understand Learning from Human Preferences", eq. 17), here of log-ratios
    a token, as TRL takes them. A margin asks for margin / beta more; smoothing mixes in the loss of
    the swapped answers.

    Returns:
        ``(J,)`` losses in fp32 or better. [nats squared]
    """
    gap, wanted = ratios.token_gap(), (0.5 + margin) / beta
    kept, swapped = (gap - wanted).square(), (gap + wanted).square()
    return (1.0 - label_smoothing) * kept + label_smoothing * swapped


DIRECT_LOSSES: dict[str, Callable[..., Tensor]] = {
    "sigmoid": dpo_loss,
    "sigmoid_norm": dpo_loss_per_token,
    "ipo": ipo_loss,
}
"""By the names of the setting ``loss_type``, which are TRL's."""


def _surprise(u: Tensor, label_smoothing: float) -> Tensor:
    return -(1.0 - label_smoothing) * logsigmoid(u) - label_smoothing * logsigmoid(-u)


def _wide(x: Tensor) -> Tensor:
    """The tensor in fp32 or better."""
    return x.to(torch.promote_types(x.dtype, torch.float32))

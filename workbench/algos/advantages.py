"""Which tokens did better than expected: advantages, returns, and putting them on one scale.

Shapes: ``B`` responses of ``T`` tokens, or ``G`` prompts with ``K`` responses each. A mask is
True where an entry counts; the rest comes out exactly 0 and has no influence, not even a NaN.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from workbench.errors import DataError


class Estimates(NamedTuple):
    """What ``gae`` makes of rewards and values.

    Attributes:
        advantages: ``(B, T)`` not whitened; 0 at padding. [reward]
        returns: ``(B, T)`` advantages + values, the value model's target; 0 at padding. [reward]
    """

    advantages: Tensor
    returns: Tensor


def gae(
    rewards: Tensor, values: Tensor, response_mask: Tensor, *, gamma: float, lam: float
) -> Estimates:
    """Generalised advantage estimates, over the tokens the policy sampled.

    delta_t = r_t + gamma V_{t+1} - V_t and A_t = delta_t + gamma lam A_{t+1} (Schulman et al.
    2016, "High-Dimensional Continuous Control Using GAE", eq. 16). After the last valid token
    V and A are 0: the response is over. lam = 0 is the TD error, lam = 1 the return-to-go minus
    the value. A gap in the mask takes no time: what follows it is the next step. The returns are
    taken before any whitening. No gradient is recorded.

    Args:
        rewards: ``(B, T)`` per token. [reward]
        values: ``(B, T)`` the value model's estimates when the tokens were sampled. [reward]
        response_mask: ``(B, T)`` bool, True = counts.
        gamma: discount per token, 0 to 1.
        lam: lambda, 0 to 1: from low variance to low bias.

    Returns:
        Estimates of ``(B, T)`` each.
    """
    with torch.no_grad():
        advantages = torch.zeros_like(values)
        next_value = torch.zeros_like(values[:, 0])
        running = torch.zeros_like(next_value)
        for t in reversed(range(values.shape[1])):
            valid, value = response_mask[:, t], values[:, t]
            delta = rewards[:, t] + gamma * next_value - value
            running = torch.where(valid, delta + gamma * lam * running, running)
            next_value = torch.where(valid, value, next_value)
            advantages[:, t] = torch.where(valid, running, 0.0)
        returns = torch.where(response_mask, advantages + values, 0.0)
    return Estimates(advantages, returns)


def rloo(episode_rewards: Tensor) -> Tensor:
    """Advantage of each response over the mean of its prompt's *other* responses.

    A_k = r_k - (sum_{j != k} r_j) / (K - 1) (Kool et al. 2019; Ahmadian et al. 2024, "Back to
    Basics", RLOO). Leaving the response itself out keeps the baseline unbiased.

    Args:
        episode_rewards: ``(G, K)`` whole-response rewards, one row a prompt. [reward]

    Returns:
        ``(G, K)`` advantages; each row adds up to 0. [reward]

    Raises:
        DataError: fewer than two responses a prompt.
    """
    k = episode_rewards.shape[1]
    if k < 2:
        raise DataError(
            f"RLOO compares responses to one prompt, and there is {k} of them",
            where=f"episode_rewards of shape {tuple(episode_rewards.shape)}",
            fix="sample two or more responses a prompt",
        )
    others = episode_rewards.sum(1, keepdim=True) - episode_rewards
    return episode_rewards - others / (k - 1)


def group_normalised(episode_rewards: Tensor, *, eps: float) -> Tensor:
    """Advantage of each response within its prompt's group, in standard deviations.

    A_k = (r_k - mean_j r_j) / (std_j r_j + eps) (Shao et al. 2024, "DeepSeekMath", section
    4.1.2, GRPO), with the biased deviation (divide by K), so that a group of one is 0 and not NaN.

    Args:
        episode_rewards: ``(G, K)`` whole-response rewards, one row a prompt. [reward]
        eps: keeps a group of equal rewards at 0. [reward]

    Returns:
        ``(G, K)`` advantages, without unit.
    """
    centred = episode_rewards - episode_rewards.mean(1, keepdim=True)
    return centred / (episode_rewards.std(1, correction=0, keepdim=True) + eps)


def group_centred(episode_rewards: Tensor) -> Tensor:
    """Advantage of each response over the mean of its prompt's group, in reward.

    A_k = r_k - mean_j r_j, without the division by the deviation, which weighs prompts whose
    answers hardly differ more than others (Liu et al. 2025, "Understanding R1-Zero-Like Training",
    Dr. GRPO). It is (K - 1) / K of :func:`rloo`'s.

    Args:
        episode_rewards: ``(G, K)`` whole-response rewards, one row a prompt. [reward]

    Returns:
        ``(G, K)`` advantages; each row adds up to 0. [reward]
    """
    return episode_rewards - episode_rewards.mean(1, keepdim=True)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of the entries that count: sum(x where mask) / sum(mask).

    Args:
        x: any shape.
        mask: bool of that shape, True = counts.

    Returns:
        A scalar in x's unit; 0 when nothing counts.
    """
    return torch.where(mask, x, 0.0).sum() / mask.sum().clamp(min=1)


def masked_var(x: Tensor, mask: Tensor) -> Tensor:
    """Biased variance of the entries that count: mean((x - mean(x))^2), divided by their number.

    Args:
        x: any shape.
        mask: bool of that shape, True = counts.

    Returns:
        A scalar in x's unit squared; 0 when one entry or none counts.
    """
    return masked_mean(centre(x, mask).square(), mask)


def centre(x: Tensor, mask: Tensor) -> Tensor:
    """The entries that count, moved to mean 0: x - mean(x).

    Args:
        x: any shape.
        mask: bool of that shape, True = counts.

    Returns:
        x's shape and unit; 0 where the mask is False.
    """
    return torch.where(mask, x - masked_mean(x, mask), 0.0)


def scale(x: Tensor, mask: Tensor, *, eps: float = 1e-8) -> Tensor:
    """The entries that count, brought to variance 1 about their own mean, which stays.

    (x - mean) / sqrt(var + eps) + mean, with the biased variance: "whitening without shifting
    the mean" (Huang et al. 2024, "The N Implementation Details of RLHF with PPO").

    Args:
        x: any shape.
        mask: bool of that shape, True = counts.
        eps: added to the variance, so that one entry, or equal ones, stay as they are.

    Returns:
        x's shape; 0 where the mask is False.
    """
    scaled = centre(x, mask) * torch.rsqrt(masked_var(x, mask) + eps)
    return torch.where(mask, scaled + masked_mean(x, mask), 0.0)


def whiten(x: Tensor, mask: Tensor, *, eps: float = 1e-8) -> Tensor:
    """The entries that count, brought to mean 0 and variance 1: scale(centre(x)).

    (x - mean) / sqrt(var + eps), with the biased variance (Huang et al. 2024). Over the whole
    batch, before it is split: the size of a micro-batch must not change it.

    Args:
        x: any shape.
        mask: bool of that shape, True = counts.
        eps: added to the variance.

    Returns:
        x's shape, without unit; 0 where the mask is False.
    """
    return scale(centre(x, mask), mask, eps=eps)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """The share of the returns' variance that the values foresaw.

    EV = 1 - var(returns - values) / var(returns): 1 for perfect values, 0 for any constant,
    below 0 for values worse than a constant (Huang et al. 2022, "The 37 Implementation Details
    of PPO").

    Args:
        values: ``(B, T)`` predictions. [reward]
        returns: ``(B, T)`` what came. [reward]
        mask: ``(B, T)`` bool, True = counts.

    Returns:
        A scalar, at most 1; 0 when the returns do not vary.
    """
    total = masked_var(returns, mask)
    unexplained = masked_var(returns - values, mask)
    varies = total > 0
    return torch.where(varies, 1.0 - unexplained / torch.where(varies, total, 1.0), 0.0)

"""What the optimiser minimises: PPO's two clipped losses and the reward model's pair losses.

The PPO losses are *sums* over a micro-batch's tokens, divided by the token count of the whole
mini-batch. Micro-batches' losses and gradients then add up to the mini-batch's token mean,
however it was split; so do the statistics beside them.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from workbench.algos.kl import kl_k3


class PolicyLoss(NamedTuple):
    """One micro-batch's share of the policy loss; shares of a mini-batch add up.

    Attributes:
        loss: scalar, carries gradients. [advantage]
        clip_fraction: share of tokens whose ratio lies outside the clip range; detached.
        approx_kl: KL(rollout policy || policy now) by k3, mean per token; detached. [nats]
        ratio_mean: mean of policy / rollout probability, 1 before the first step; detached.
    """

    loss: Tensor
    clip_fraction: Tensor
    approx_kl: Tensor
    ratio_mean: Tensor


class ValueLoss(NamedTuple):
    """One micro-batch's share of the value loss; shares of a mini-batch add up.

    Attributes:
        loss: scalar, carries gradients. [reward squared]
        clip_fraction: share of tokens at which the clipped error was the larger; detached.
    """

    loss: Tensor
    clip_fraction: Tensor


def clipped_policy_loss(
    policy_logprobs: Tensor,
    rollout_logprobs: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    *,
    clip_range: float,
    clip_range_high: float = 0.0,
    token_count: int | Tensor,
) -> PolicyLoss:
    """PPO's clipped policy loss, from tokens the *rollout* policy sampled.

    With rho = exp(policy - rollout log-probability), per token
    max(-A rho, -A clip(rho, 1 - eps, 1 + eps)) (Schulman et al. 2017, "Proximal Policy
    Optimization Algorithms", eq. 7, negated), summed and divided by ``token_count``. With
    ``clip_range_high`` the upper end is 1 + that: unlikely tokens may gain more before they are
    held (Yu et al. 2025, "DAPO", clip-higher).

    Args:
        policy_logprobs: ``(B, T)`` log pi(a_t | s_t) now, with gradients. [nats]
        rollout_logprobs: ``(B, T)`` the same tokens when they were sampled, data. [nats]
        advantages: ``(B, T)`` data.
        response_mask: ``(B, T)`` bool, True = counts.
        clip_range: eps, how far the ratio may go to profit.
        clip_range_high: eps above 1, where it is another; 0 = the same.
        token_count: valid tokens of the whole mini-batch. [tokens]

    Returns:
        PolicyLoss of scalars, all of them sums / ``token_count``.
    """
    # masked here too: a NaN at padding would pass through the sum's zero gradient
    log_ratio = torch.where(response_mask, policy_logprobs - rollout_logprobs.detach(), 0.0)
    ratio = log_ratio.exp()
    gain = advantages.detach()
    high = clip_range_high or clip_range
    clipped = ratio.clamp(1.0 - clip_range, 1.0 + high)
    loss = _share(torch.maximum(-gain * ratio, -gain * clipped), response_mask, token_count)
    with torch.no_grad():
        outside = ((ratio - 1.0 > high) | (1.0 - ratio > clip_range)).to(ratio.dtype)
        # the rollout policy sampled: it stands first, and d = log policy - log rollout
        approx_kl = kl_k3(torch.zeros_like(log_ratio), log_ratio)
        return PolicyLoss(
            loss,
            _share(outside, response_mask, token_count),
            _share(approx_kl, response_mask, token_count),
            _share(ratio, response_mask, token_count),
        )


def clipped_value_loss(
    values: Tensor,
    rollout_values: Tensor,
    returns: Tensor,
    response_mask: Tensor,
    *,
    clip_range: float,
    token_count: int | Tensor,
) -> ValueLoss:
    """The value loss that gives no reward for moving past the clip range in one update.

    Per token 0.5 max((V - R)^2, (V_clip - R)^2) with V_clip = V_rollout + clip(V - V_rollout,
    -eps, eps) (the value clipping of OpenAI Baselines' PPO2, detail 9 of Huang et al. 2022, "The
    37 Implementation Details of PPO"), summed and divided by ``token_count``.

    Args:
        values: ``(B, T)`` now, with gradients. [reward]
        rollout_values: ``(B, T)`` when the tokens were sampled, data. [reward]
        returns: ``(B, T)`` targets, data. [reward]
        response_mask: ``(B, T)`` bool, True = counts.
        clip_range: eps, how far a value may move to profit. [reward]
        token_count: valid tokens of the whole mini-batch. [tokens]

    Returns:
        ValueLoss of scalars, both of them sums / ``token_count``.
    """
    # masked here too: a NaN at padding would pass through the sum's zero gradient
    now = torch.where(response_mask, values, 0.0)
    old, target = rollout_values.detach(), returns.detach()
    plain = (now - target).square()
    clipped = (old + (now - old).clamp(-clip_range, clip_range) - target).square()
    loss = _share(0.5 * torch.maximum(plain, clipped), response_mask, token_count)
    with torch.no_grad():
        binds = (clipped > plain).to(now.dtype)
        return ValueLoss(loss, _share(binds, response_mask, token_count))


def bradley_terry(
    chosen_scores: Tensor,
    rejected_scores: Tensor,
    *,
    margin: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Loss of each pair: the surprise, in natural logarithms, that the chosen response won.

    With delta = chosen - rejected - margin: -log sigmoid(delta) (Bradley & Terry 1952; Ouyang et
    al. 2022, eq. 1; the margin as in Touvron et al. 2023, "Llama 2", eq. 2). Smoothing s mixes in
    the swapped pair, -(1 - s) log sigmoid(delta) - s log sigmoid(-delta): the label is held to be
    wrong with probability s.

    Args:
        chosen_scores: ``(B,)`` of the responses preferred. [reward]
        rejected_scores: ``(B,)`` of the others. [reward]
        margin: ``(B,)`` by how much the chosen one should win, or None for 0. [reward]
        label_smoothing: s, from 0 to 0.5.

    Returns:
        ``(B,)`` losses in fp32 or better. [nats]
    """
    delta = _wide(chosen_scores) - _wide(rejected_scores)
    if margin is not None:
        delta = delta - margin
    return -(1.0 - label_smoothing) * logsigmoid(delta) - label_smoothing * logsigmoid(-delta)


def centring(chosen_scores: Tensor, rejected_scores: Tensor) -> Tensor:
    """Penalty that holds scores about 0, which pairs alone leave free to drift.

    (chosen + rejected)^2 (Eisenstein et al. 2023, "Helping or Herding? Reward Model Ensembles
    Mitigate but do not Eliminate Reward Hacking", their regulariser of the pair loss), to be
    weighted and added to ``bradley_terry``.

    Args:
        chosen_scores: ``(B,)`` of the responses preferred. [reward]
        rejected_scores: ``(B,)`` of the others. [reward]

    Returns:
        ``(B,)`` penalties in fp32 or better. [reward squared]
    """
    return (_wide(chosen_scores) + _wide(rejected_scores)).square()


def _share(per_token: Tensor, mask: Tensor, token_count: int | Tensor) -> Tensor:
    """Scalar: the sum over valid tokens, divided by the whole mini-batch's count (at least 1)."""
    total = torch.where(mask, per_token, 0.0).sum()
    if isinstance(token_count, Tensor):
        return total / token_count.clamp(min=1).to(total.device)
    return total / max(1, token_count)  # a number: a GPU need not be sent one, and waited for


def _wide(x: Tensor) -> Tensor:
    """The tensor in fp32 or better."""
    return x.to(torch.promote_types(x.dtype, torch.float32))

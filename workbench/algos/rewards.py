"""From one score a response to one reward a token; and where a response ends.

Shapes: ``B`` responses, ``T`` response tokens, padded on the right. ``response_mask`` is True
where a token counts. Everything here looks at the response alone: an EOS inside the prompt (chat
templates have them) must not be seen.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from workbench.algos.kl import kl_k1


def token_rewards(
    scores: Tensor,
    policy_logprobs: Tensor,
    ref_logprobs: Tensor,
    response_mask: Tensor,
    *,
    kl_coef: float,
    estimator: Callable[[Tensor, Tensor], Tensor] = kl_k1,
) -> Tensor:
    """Per-token rewards: the KL charge on every token, the score on the last one.

    r_t = -beta (log policy_t - log ref_t), plus the score at the last valid token (Ziegler et
    al. 2019, eq. 2, spread over tokens as in Stiennon et al. 2020). A row's rewards add up to
    score - beta * sum_t k1_t. With k2 or k3 in the place of k1 no token is paid for being
    likelier under the reference, and the optimum is another one than pi_ref exp(r / beta).

    Args:
        scores: ``(B,)`` the reward model's number per response. [reward]
        policy_logprobs: ``(B, T)`` the sampled tokens, under the policy that sampled. [nats]
        ref_logprobs: ``(B, T)`` the same tokens under the frozen reference. [nats]
        response_mask: ``(B, T)`` bool, True = counts.
        kl_coef: beta. [reward per nat]
        estimator: of KL(policy || reference) per token: ``kl_k1``, ``kl_k2`` or ``kl_k3``.

    Returns:
        ``(B, T)`` rewards; 0 where the mask is False, so a row with no valid token is all 0.
    """
    charge = -kl_coef * estimator(policy_logprobs, ref_logprobs)
    rewards = torch.where(response_mask, charge, 0.0)
    score = scores.to(rewards.dtype).unsqueeze(1)
    return torch.where(_is_last(response_mask), rewards + score, rewards)


def clip_scores(scores: Tensor, *, limit: float) -> Tensor:
    """Scores held within -limit ... +limit, against a reward model's outliers.

    min(max(score, -limit), limit): the reward clipping of Zheng et al. 2023, "Secrets of RLHF in
    Large Language Models Part I: PPO", without its normalisation.

    Args:
        scores: ``(B,)`` the reward model's numbers. [reward]
        limit: the largest absolute score let through. [reward]

    Returns:
        ``(B,)`` clipped scores. [reward]
    """
    return scores.clamp(-limit, limit)


def ended(tokens: Tensor, response_mask: Tensor, eos_ids: Sequence[int]) -> Tensor:
    """Whether each response ended by itself: its last valid token is an EOS.

    The test behind the penalty for a missing EOS (Stiennon et al. 2020; Huang et al. 2024).

    Args:
        tokens: ``(B, T)`` integer response tokens, without the prompt.
        response_mask: ``(B, T)`` bool, True = counts.
        eos_ids: every id that ends a response.

    Returns:
        ``(B,)`` bool; False for a row with no valid token.
    """
    eos = torch.tensor(list(eos_ids), dtype=tokens.dtype, device=tokens.device)
    return (torch.isin(tokens, eos) & _is_last(response_mask)).any(1)


def _is_last(mask: Tensor) -> Tensor:
    """``(B, T)`` bool: True at the last True of each row, nowhere in a row without one."""
    from_here = mask.long().flip(1).cumsum(1).flip(1)  # how many count, from here to the end
    return mask & (from_here == 1)

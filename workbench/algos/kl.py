"""How far the policy is from the reference: sampled estimates, and the adaptive charge for it.

All three estimators are of KL(policy || reference), per token, from tokens that the *policy*
sampled (Schulman 2020, "Approximating KL Divergence"). Averaged over such tokens, k1 and k3 are
unbiased; k2 is biased, a little where the two are close. k1 is the charge in the reward; k3 is
the one to plot.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from workbench.errors import ConfigError


def kl_k1(policy_logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Estimate KL(policy || reference) per token, from tokens the *policy* sampled.

    k1 = log policy - log ref (Schulman 2020). Unbiased, noisy, negative for many single tokens.

    Args:
        policy_logprobs: ``(B, T)`` log pi(a_t | s_t). [nats]
        ref_logprobs: ``(B, T)`` the same tokens under the frozen reference. [nats]

    Returns:
        ``(B, T)`` estimate in nats; padding is the caller's to mask.
    """
    return policy_logprobs - ref_logprobs


def kl_k2(policy_logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Estimate KL(policy || reference) per token ``(B, T)`` in nats, of the same as :func:`kl_k1`.

    k2 = (log policy - log ref)^2 / 2 (Schulman 2020). Never negative, steadier than k1, biased.
    """
    return 0.5 * (policy_logprobs - ref_logprobs).square()


def kl_k3(policy_logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Estimate KL(policy || reference) per token ``(B, T)`` in nats, of the same as :func:`kl_k1`.

    k3 = exp(d) - 1 - d with d = log ref - log policy (Schulman 2020). Never negative, unbiased.
    """
    d = ref_logprobs - policy_logprobs
    return torch.expm1(d) - d  # exp(d) - 1 would lose the digits of a small d


KL_ESTIMATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "k1": kl_k1,
    "k2": kl_k2,
    "k3": kl_k3,
}
"""By name; each of KL(policy || reference), from tokens that the policy sampled."""


@dataclass(frozen=True, kw_only=True)
class AdaptiveKL:
    """The charge for leaving the reference, steered so that the KL stays near a target.

    Ziegler et al. 2019, "Fine-Tuning Language Models from Human Preferences", section 2.2:
    e = clip(KL / target - 1, -0.2, 0.2), then coef <- coef * (1 + e * n / horizon), with the
    paper's gain K_beta written as n / horizon, as its published code does.

    Attributes:
        coef: beta, the present charge. [reward per nat]
        target: the KL to hold, summed over a response. [nats]
        horizon: how slowly the charge moves. [responses]

    Raises:
        ConfigError: a target or a horizon is not above 0, or the charge is below 0.
    """

    coef: float
    target: float
    horizon: float

    def __post_init__(self) -> None:
        for name, number, fits in (
            ("coef", self.coef, self.coef >= 0),
            ("target", self.target, self.target > 0),
            ("horizon", self.horizon, self.horizon > 0),
        ):
            if not fits:
                raise ConfigError(
                    f"{name} = {number} cannot steer the KL",
                    where="AdaptiveKL",
                    fix="target and horizon are above 0, coef is 0 or above",
                )

    def updated(self, kl: float, n: int) -> "AdaptiveKL":
        """The controller after ``n`` more responses.

        Args:
            kl: their mean KL(policy || reference), summed over a response. [nats]
            n: how many responses that mean is over. [responses]

        Returns:
            A new controller; an equal one when ``kl`` is NaN, which says nothing. The charge
            never falls below 0, however large ``n`` is.
        """
        if math.isnan(kl):
            return self
        error = min(max(kl / self.target - 1.0, -0.2), 0.2)
        return replace(self, coef=self.coef * max(1.0 + error * n / self.horizon, 0.0))

"""One answer's way through a PPO update, token by token, from what was recorded of it.

Everything is a sequence over the answer's ``T`` tokens, in double precision: what is taken apart
here is to be read and moved by hand, not to be trained on.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from workbench.algos.advantages import gae, group_centred, group_normalised, rloo
from workbench.algos.kl import KL_ESTIMATORS
from workbench.algos.rewards import token_rewards

GROUP_EPS = 1e-4
"""Keeps a group of equal rewards at 0, as PPO's update has it. [reward]"""
WHITEN_EPS = 1e-8
"""Added to the variance when advantages are whitened. [reward squared]"""


@dataclass(frozen=True, kw_only=True)
class RecordedAnswer:
    """What an update saw of one answer, and what it knew of the others.

    Attributes:
        logprobs: of its tokens under the policy that sampled them. [nats]
        ref_logprobs: under the reference. [nats]
        after_logprobs: under the policy when the update was over. [nats]
        values: the value model's estimates; None where the update had none. [reward]
        paid: what the answer is paid at its end, before the KL charge. [reward]
        advantage: which estimator: ``gae``, ``rloo`` or ``group``.
        estimator: of the KL that is charged: ``k1``, ``k2`` or ``k3``.
        group: of each answer to its prompt, what it is paid [reward] and its KL [nats]; for
            ``rloo`` and ``group`` alone.
        place: which of the group it is.
        mean, std: of all the update's advantages, by which they are whitened; None where they
            are not. [reward]
        clip_range_high: eps above 1, where it is another than below; 0 = the same.
        group_scale: whether ``group`` divides by the group's ``deviation``, or by ``none``.
    """

    logprobs: tuple[float, ...]
    ref_logprobs: tuple[float, ...]
    after_logprobs: tuple[float, ...]
    values: tuple[float, ...] | None
    paid: float
    advantage: str = "gae"
    estimator: str = "k1"
    group: tuple[tuple[float, float], ...] = ()
    place: int = 0
    mean: float | None = None
    std: float | None = None
    clip_range_high: float = 0.0
    group_scale: str = "deviation"


class AnswerSteps(NamedTuple):
    """What each step of an update makes of one answer; ``T`` numbers each.

    Attributes:
        log_ratio: log pi - log pi_ref of the token that was sampled. [nats]
        charge: -beta times the KL estimate. [reward]
        reward: the charge, and at the last token what the answer is paid. [reward]
        value: V_t; None where the update had no value model. [reward]
        delta: r_t + gamma V_{t+1} - V_t, the one-step surprise; None without values. [reward]
        advantage: the discounted sum of the surprises, or the answer's own against its group's.
        whitened: the advantage by the update's mean and deviation, as the loss takes it.
        ratio: probability after the update by probability when it was sampled.
        unclipped: ratio times advantage.
        clipped: ratio, held within 1 - eps ... 1 + eps, times advantage.
        objective: the lower of the two, what the update maximises.
    """

    log_ratio: list[float]
    charge: list[float]
    reward: list[float]
    value: list[float] | None
    delta: list[float] | None
    advantage: list[float]
    whitened: list[float]
    ratio: list[float]
    unclipped: list[float]
    clipped: list[float]
    objective: list[float]


def take_apart(
    answer: RecordedAnswer,
    *,
    kl_coef: float,
    gamma: float,
    lam: float,
    clip_range: float,
    paid: float | None = None,
) -> AnswerSteps:
    """Every step of an update for one answer, with these settings in the place of the run's.

    The formulas are those of ``token_rewards``, ``gae``, ``rloo``, ``group_normalised`` and
    ``clipped_policy_loss``. The update's mean and deviation of all advantages stay as recorded:
    the other answers are not here to be computed again.

    Args:
        answer: as recorded.
        kl_coef: beta. [reward per nat]
        gamma: discount per token, 0 to 1.
        lam: lambda of GAE, 0 to 1.
        clip_range: eps.
        paid: what the answer is paid at its end; None for what was recorded. [reward]
    """
    policy, ref, after = (
        torch.tensor([row], dtype=torch.float64)
        for row in (answer.logprobs, answer.ref_logprobs, answer.after_logprobs)
    )
    mask = torch.ones_like(policy, dtype=torch.bool)
    end = answer.paid if paid is None else paid
    estimator = KL_ESTIMATORS[answer.estimator]
    rewards = token_rewards(
        torch.tensor([end], dtype=torch.float64),
        policy,
        ref,
        mask,
        kl_coef=kl_coef,
        estimator=estimator,
    )
    values = delta = None
    if answer.values is not None:
        values = torch.tensor([answer.values], dtype=torch.float64)
        delta = gae(rewards, values, mask, gamma=gamma, lam=0.0).advantages
        advantage = gae(rewards, values, mask, gamma=gamma, lam=lam).advantages
    else:
        advantage = _relative(answer, end, kl_coef).expand_as(policy)
    whitened = advantage
    if answer.mean is not None and answer.std is not None:
        whitened = (advantage - answer.mean) / (answer.std**2 + WHITEN_EPS) ** 0.5
    ratio = (after - policy).exp()
    unclipped = ratio * whitened
    high = answer.clip_range_high or clip_range
    clipped = ratio.clamp(1.0 - clip_range, 1.0 + high) * whitened
    return AnswerSteps(
        log_ratio=_list(policy - ref),
        charge=_list(-kl_coef * estimator(policy, ref)),
        reward=_list(rewards),
        value=None if values is None else _list(values),
        delta=None if delta is None else _list(delta),
        advantage=_list(advantage),
        whitened=_list(whitened),
        ratio=_list(ratio),
        unclipped=_list(unclipped),
        clipped=_list(clipped),
        objective=_list(torch.minimum(unclipped, clipped)),
    )


def _relative(answer: RecordedAnswer, paid: float, kl_coef: float) -> Tensor:
    """``(1, 1)``: the answer's advantage over its group's."""
    totals = [own - kl_coef * kl for own, kl in answer.group]
    totals[answer.place] += paid - answer.group[answer.place][0]
    row = torch.tensor([totals], dtype=torch.float64)
    if answer.advantage == "rloo":
        relative = rloo(row)
    elif answer.group_scale == "none":
        relative = group_centred(row)
    else:
        relative = group_normalised(row, eps=GROUP_EPS)
    return relative[:, answer.place : answer.place + 1]


def _list(row: Tensor) -> list[float]:
    return [float(number) for number in row[0]]

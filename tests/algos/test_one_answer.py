import math

import pytest
import torch

from workbench.algos.advantages import gae, whiten
from workbench.algos.kl import kl_k1, kl_k3
from workbench.algos.losses import clipped_policy_loss
from workbench.algos.one_answer import RecordedAnswer, take_apart
from workbench.algos.rewards import token_rewards

THREE = RecordedAnswer(
    logprobs=(-1.0, -2.0, -0.5),
    ref_logprobs=(-1.5, -1.0, -0.5),
    after_logprobs=(-1.0 + math.log(1.5), -2.0, -0.5 + math.log(0.9)),
    values=(0.5, 0.25, 1.0),
    paid=2.0,
)
USED = {"kl_coef": 0.1, "gamma": 0.5, "lam": 0.5, "clip_range": 0.2}


def test_three_tokens_by_hand():
    steps = take_apart(THREE, **USED)
    assert steps.log_ratio == pytest.approx([0.5, -1.0, 0.0])
    assert steps.charge == pytest.approx([-0.05, 0.1, 0.0])
    assert steps.reward == pytest.approx([-0.05, 0.1, 2.0])
    assert steps.value == [0.5, 0.25, 1.0]
    # delta: -0.05 + 0.5 * 0.25 - 0.5; 0.1 + 0.5 * 1 - 0.25; 2 + 0 - 1
    assert steps.delta == pytest.approx([-0.425, 0.35, 1.0])
    # from the end: 1; 0.35 + 0.25 * 1; -0.425 + 0.25 * 0.6
    assert steps.advantage == pytest.approx([-0.275, 0.6, 1.0])
    assert steps.whitened == steps.advantage
    assert steps.ratio == pytest.approx([1.5, 1.0, 0.9])
    # a negative advantage is not helped by the clip: min(-0.4125, -0.33)
    assert steps.objective == pytest.approx([-0.4125, 0.6, 0.9])


def test_the_clip_binds_where_the_ratio_went_too_far_for_profit():
    gained = RecordedAnswer(
        logprobs=(-1.0,), ref_logprobs=(-1.0,), after_logprobs=(0.0,), values=(0.0,), paid=2.0
    )
    steps = take_apart(gained, **USED)
    assert steps.unclipped == pytest.approx([2 * math.e])
    assert steps.clipped == steps.objective == pytest.approx([2.4])


def test_another_score_is_paid_at_the_end_alone():
    steps = take_apart(THREE, **USED, paid=-3.0)
    assert steps.reward == pytest.approx([-0.05, 0.1, -3.0])


def test_it_whitens_by_what_the_update_recorded():
    whitened = RecordedAnswer(
        **{**vars(THREE), "mean": 0.1, "std": 2.0},
    )
    steps = take_apart(whitened, **USED)
    assert steps.whitened == pytest.approx([-0.1875, 0.25, 0.45])


@pytest.mark.parametrize(("advantage", "wanted"), [("rloo", 3.4), ("group", math.sqrt(2))])
def test_an_answer_against_its_group(advantage, wanted):
    # totals: 2 - 0.1 * 1 = 1.9; -1 - 0.1 * 5 = -1.5; -2 + 0.1 * 5 = -1.5
    answer = RecordedAnswer(
        logprobs=(-1.0, -1.0),
        ref_logprobs=(-1.5, -1.5),
        after_logprobs=(-1.0, -1.0),
        values=None,
        paid=2.0,
        advantage=advantage,
        group=((2.0, 1.0), (-1.0, 5.0), (-2.0, -5.0)),
    )
    steps = take_apart(answer, **USED)
    assert steps.value is None and steps.delta is None
    assert steps.advantage == pytest.approx([wanted, wanted], abs=1e-3)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_it_is_what_an_update_computes(estimator):
    """A batch of two through the functions of training; the second answer taken apart."""
    torch.manual_seed(3)
    policy, ref, after, values = (torch.randn(2, 5, dtype=torch.float64) for _ in range(4))
    after = policy + 0.3 * after
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    paid = torch.tensor([0.7, -1.2], dtype=torch.float64)
    kl = {"k1": kl_k1, "k3": kl_k3}[estimator]
    rewards = token_rewards(paid, policy, ref, mask, kl_coef=0.2, estimator=kl)
    raw = gae(rewards, values, mask, gamma=0.9, lam=0.8).advantages
    advantages = whiten(raw, mask)
    kept = raw[mask]
    loss = clipped_policy_loss(after, policy, advantages, mask, clip_range=0.1, token_count=8).loss
    total = 0.0
    for row, size in ((0, 5), (1, 3)):
        answer = RecordedAnswer(
            logprobs=tuple(policy[row, :size].tolist()),
            ref_logprobs=tuple(ref[row, :size].tolist()),
            after_logprobs=tuple(after[row, :size].tolist()),
            values=tuple(values[row, :size].tolist()),
            paid=float(paid[row]),
            estimator=estimator,
            mean=float(kept.mean()),
            std=float(kept.std(correction=0)),
        )
        steps = take_apart(answer, kl_coef=0.2, gamma=0.9, lam=0.8, clip_range=0.1)
        assert steps.advantage == pytest.approx(raw[row, :size].tolist(), abs=1e-12)
        assert steps.whitened == pytest.approx(advantages[row, :size].tolist(), abs=1e-12)
        total += sum(steps.objective)
    assert -total / 8 == pytest.approx(float(loss), abs=1e-12)

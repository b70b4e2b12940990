"""DPO's losses by hand, from the definitions in their papers."""

import math

import pytest
import torch

from workbench.algos.direct_losses import (
    DIRECT_LOSSES,
    LogRatios,
    dpo_loss,
    dpo_loss_per_token,
    ipo_loss,
)

RATIOS = LogRatios(
    torch.tensor([2.0, -1.0]),
    torch.tensor([-1.0, 3.0]),
    torch.tensor([4.0, 2.0]),
    torch.tensor([2.0, 6.0]),
)


def surprise(u: float) -> float:
    return math.log(1 + math.exp(-u))


def same(loss, *expected):
    torch.testing.assert_close(loss, torch.tensor(expected), atol=1e-6, rtol=1e-6)


def test_dpo_is_the_surprise_at_the_difference_of_implied_rewards():
    same(dpo_loss(RATIOS, beta=0.5), surprise(1.5), surprise(-2.0))


def test_a_policy_that_is_its_reference_pays_ln_2():
    none = LogRatios(torch.zeros(1), torch.zeros(1), torch.ones(1), torch.ones(1))
    same(dpo_loss(none, beta=0.1), math.log(2))


def test_smoothing_mixes_in_the_swapped_pair():
    loss = dpo_loss(RATIOS, beta=0.5, label_smoothing=0.2)
    same(loss, *(0.8 * surprise(u) + 0.2 * surprise(-u) for u in (1.5, -2.0)))


def test_a_margin_has_to_be_won_by():
    loss = dpo_loss(RATIOS, beta=0.5, margin=torch.tensor([1.0, 0.0]))
    same(loss, surprise(0.5), surprise(-2.0))


def test_per_token_divides_each_side_by_its_own_length():
    # 2/4 + 1/2 = 1, and -1/2 - 3/6 = -1
    same(dpo_loss_per_token(RATIOS, beta=2.0), surprise(2.0), surprise(-2.0))


def test_ipo_is_the_square_about_half_a_reward():
    # wanted gap 1 / (2 * 0.25) = 2 nats a token
    same(ipo_loss(RATIOS, beta=0.25), 1.0, 9.0)


def test_ipo_with_margin_and_smoothing():
    # margin 0.25 asks for 0.25 / 0.25 = 1 more: 3
    same(ipo_loss(RATIOS, beta=0.25, margin=0.25), 4.0, 16.0)
    same(ipo_loss(RATIOS, beta=0.25, label_smoothing=0.25), 0.75 * 1 + 0.25 * 9, 0.75 * 9 + 0.25)


@pytest.mark.parametrize("name", DIRECT_LOSSES)
def test_gradients_push_chosen_up_and_rejected_down(name):
    chosen, rejected = (torch.zeros(1, requires_grad=True) for _ in range(2))
    ratios = LogRatios(chosen, rejected, torch.tensor([3.0]), torch.tensor([5.0]))
    DIRECT_LOSSES[name](ratios, beta=0.1).sum().backward()
    assert float(chosen.grad) < 0 < float(rejected.grad)


def test_the_gradient_is_weighted_by_how_wrong_the_policy_is():
    """Rafailov et al. 2023, section 4: -beta sigmoid(-u) on the chosen log-probability."""
    chosen = torch.tensor([2.0, -1.0], requires_grad=True)
    dpo_loss(RATIOS._replace(chosen=chosen), beta=0.5).sum().backward()
    expected = [-0.5 / (1 + math.exp(u)) for u in (1.5, -2.0)]
    torch.testing.assert_close(chosen.grad, torch.tensor(expected))


def test_half_precision_is_computed_in_float32():
    half = LogRatios(*(t.half() for t in RATIOS))
    assert dpo_loss(half, beta=0.1).dtype == torch.float32

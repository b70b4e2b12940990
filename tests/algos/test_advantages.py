import math

import pytest
import torch

from workbench.algos.advantages import (
    centre,
    explained_variance,
    gae,
    group_centred,
    group_normalised,
    masked_mean,
    masked_var,
    rloo,
    scale,
    whiten,
)
from workbench.errors import DataError

REWARDS, VALUES = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.5, 1.0, 1.5]])
ALL = torch.ones(1, 3, dtype=torch.bool)


def test_gae_by_hand():
    got = gae(REWARDS, VALUES, ALL, gamma=0.9, lam=0.8)
    # A_3 = 3 - 1.5 = 1.5; A_2 = 2 + .9 * 1.5 - 1 + .72 * 1.5 = 3.43;
    # A_1 = 1 + .9 * 1 - .5 + .72 * 3.43 = 3.8696
    torch.testing.assert_close(got.advantages, torch.tensor([[3.8696, 3.43, 1.5]]))
    torch.testing.assert_close(got.returns, torch.tensor([[4.3696, 4.43, 3.0]]))


def test_lambda_one_is_the_return_to_go_minus_the_value():
    got = gae(REWARDS, VALUES, ALL, gamma=1.0, lam=1.0)
    torch.testing.assert_close(got.advantages, torch.tensor([[5.5, 4.0, 1.5]]))
    torch.testing.assert_close(got.returns, torch.tensor([[6.0, 5.0, 3.0]]))


def test_lambda_zero_is_the_temporal_difference_error():
    got = gae(REWARDS, VALUES, ALL, gamma=1.0, lam=0.0)
    torch.testing.assert_close(got.advantages, torch.tensor([[1.5, 2.5, 1.5]]))


@pytest.mark.parametrize("junk", [0.0, 1e6, math.nan, math.inf])
def test_padding_is_zero_and_has_no_influence(junk):
    rewards, values = REWARDS.clone(), VALUES.clone()
    rewards[0, 2] = values[0, 2] = junk
    mask = torch.tensor([[True, True, False]])
    got = gae(rewards, values, mask, gamma=0.9, lam=0.8)
    # the value after the last valid token is 0: A_2 = 2 - 1 = 1; A_1 = 1.4 + .72 * 1 = 2.12
    torch.testing.assert_close(got.advantages, torch.tensor([[2.12, 1.0, 0.0]]))
    torch.testing.assert_close(got.returns, torch.tensor([[2.62, 2.0, 0.0]]))


def test_more_padding_changes_no_valid_entry():
    torch.manual_seed(0)
    rewards, values = torch.randn(2, 4), torch.randn(2, 4)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    narrow = gae(rewards, values, mask, gamma=0.95, lam=0.9)
    wide = gae(
        torch.cat([rewards, torch.randn(2, 3)], 1),
        torch.cat([values, torch.randn(2, 3)], 1),
        torch.cat([mask, torch.zeros(2, 3, dtype=torch.bool)], 1),
        gamma=0.95,
        lam=0.9,
    )
    for a, b in zip(narrow, wide, strict=True):
        assert torch.equal(a, b[:, :4]) and torch.equal(b[:, 4:], torch.zeros(2, 3))


def test_a_gap_in_the_mask_takes_no_time():
    mask = torch.tensor([[True, False, True, True]])
    rewards = torch.tensor([[1.0, math.nan, 2.0, 3.0]])
    values = torch.tensor([[0.5, math.nan, 1.0, 1.5]])
    got = gae(rewards, values, mask, gamma=0.9, lam=0.8)
    torch.testing.assert_close(got.advantages, torch.tensor([[3.8696, 0.0, 3.43, 1.5]]))


def test_a_row_with_no_valid_token_is_all_zero():
    got = gae(REWARDS, VALUES, ~ALL, gamma=0.9, lam=0.8)
    assert torch.equal(got.advantages, torch.zeros(1, 3))
    assert torch.equal(got.returns, torch.zeros(1, 3))


def test_returns_are_unwhitened_advantages_plus_values():
    torch.manual_seed(0)
    rewards, values = torch.randn(3, 5), torch.randn(3, 5)
    mask = torch.ones(3, 5, dtype=torch.bool)
    got = gae(rewards, values, mask, gamma=1.0, lam=0.95)
    torch.testing.assert_close(got.returns, got.advantages + values)
    assert got.advantages.mean().abs() > 0.01  # they have not been centred


def test_no_gradient_is_recorded():
    got = gae(REWARDS, VALUES.clone().requires_grad_(), ALL, gamma=0.9, lam=0.8)
    assert not got.advantages.requires_grad and not got.returns.requires_grad


def test_rloo_by_hand():
    # others' means of 1, 2, 3, 6 are 11/3, 10/3, 3, 2; the second row knows nothing of the first
    got = rloo(torch.tensor([[1.0, 2.0, 3.0, 6.0], [5.0, 5.0, 5.0, 5.0]]))
    torch.testing.assert_close(got, torch.tensor([[-8 / 3, -4 / 3, 0.0, 4.0], [0.0] * 4]))


def test_rloo_of_two_is_their_difference():
    got = rloo(torch.tensor([[4.0, 1.0]]))
    torch.testing.assert_close(got, torch.tensor([[3.0, -3.0]]))


def test_rloo_of_one_is_refused():
    with pytest.raises(DataError, match="RLOO"):
        rloo(torch.tensor([[4.0], [1.0]]))


def test_group_centred_by_hand():
    got = group_centred(torch.tensor([[1.0, 3.0], [10.0, 30.0]]))
    torch.testing.assert_close(got, torch.tensor([[-1.0, 1.0], [-10.0, 10.0]]))


def test_group_normalised_by_hand():
    # rows: mean 2, biased deviation 1; mean 20, deviation 10
    got = group_normalised(torch.tensor([[1.0, 3.0], [10.0, 30.0]]), eps=0.25)
    expected = torch.tensor([[-0.8, 0.8], [-10 / 10.25, 10 / 10.25]])
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("k", [1, 4])
def test_a_group_of_equal_rewards_has_no_advantage(k):
    got = group_normalised(torch.full((2, k), 3.0), eps=1e-4)
    assert torch.equal(got, torch.zeros(2, k))


X = torch.tensor([[1.0, 2.0, math.nan], [6.0, math.inf, -math.inf]])
MASK = torch.tensor([[True, True, False], [True, False, False]])  # 1, 2, 6: mean 3, var 14/3


def test_masked_mean_and_biased_variance():
    torch.testing.assert_close(masked_mean(X, MASK), torch.tensor(3.0))
    torch.testing.assert_close(masked_var(X, MASK), torch.tensor(14 / 3))


def test_centre_scale_and_whiten_over_the_mask():
    d = math.sqrt(14 / 3)
    expected = torch.tensor([[-2.0, -1.0, 0.0], [3.0, 0.0, 0.0]])
    torch.testing.assert_close(centre(X, MASK), expected)
    torch.testing.assert_close(whiten(X, MASK), expected / d)
    kept = torch.tensor([[3 - 2 / d, 3 - 1 / d, 0.0], [3 + 3 / d, 0.0, 0.0]])
    torch.testing.assert_close(scale(X, MASK), kept)


def test_the_blogs_example():
    x = torch.tensor([[1.2, 1.3, 1.4], [1.5, 1.6, 1.7], [1.8, 1.9, 2.0]])
    mask = torch.ones(3, 3, dtype=torch.bool)
    kept = torch.tensor(
        [[0.0508, 0.4381, 0.8254], [1.2127, 1.6000, 1.9873], [2.3746, 2.7619, 3.1492]]
    )
    torch.testing.assert_close(scale(x, mask), kept, atol=5e-5, rtol=0)
    torch.testing.assert_close(whiten(x, mask), kept - 1.6, atol=5e-5, rtol=0)


def test_eps_stands_beside_the_variance():
    x, mask = torch.tensor([1.0, 3.0]), torch.ones(2, dtype=torch.bool)
    root = math.sqrt(1.0 + 3.0)  # variance 1, eps 3
    torch.testing.assert_close(scale(x, mask, eps=3.0), torch.tensor([2 - 1 / root, 2 + 1 / root]))
    torch.testing.assert_close(whiten(x, mask, eps=3.0), torch.tensor([-1 / root, 1 / root]))


def test_the_default_eps_is_small_enough_not_to_show():
    # variance 1e-6: with eps 1e-8 the result is 1 / sqrt(1.01) = 0.995037
    x = torch.tensor([-1e-3, 1e-3])
    mask = torch.ones(2, dtype=torch.bool)
    for got in (whiten(x, mask), scale(x, mask)):
        torch.testing.assert_close(got, torch.tensor([-0.995037, 0.995037]))


@pytest.mark.parametrize("valid", [0, 1])
def test_one_valid_entry_or_none_divides_nothing_by_zero(valid):
    x = torch.tensor([5.0, math.nan, 7.0])
    mask = torch.tensor([valid == 1, False, False])
    assert masked_mean(x, mask).item() == 5.0 * valid
    assert masked_var(x, mask).item() == 0.0
    assert centre(x, mask).tolist() == whiten(x, mask).tolist() == [0.0, 0.0, 0.0]
    assert scale(x, mask).tolist() == [5.0 * valid, 0.0, 0.0]


def test_a_masked_nan_reaches_no_gradient():
    for function in (masked_mean, masked_var, centre, scale, whiten):
        x = X.clone().requires_grad_()
        function(x, MASK).square().sum().backward()
        assert x.grad.isfinite().all() and (x.grad[~MASK] == 0).all(), function.__name__


def test_explained_variance_by_hand():
    returns = torch.tensor([[1.0, 2.0], [3.0, 4.0]])  # variance 1.25
    mask = torch.ones(2, 2, dtype=torch.bool)
    values = torch.tensor([[1.0, 2.0], [3.0, 2.0]])  # off by 0, 0, 0, 2: variance 0.75
    torch.testing.assert_close(explained_variance(values, returns, mask), torch.tensor(0.4))
    torch.testing.assert_close(explained_variance(-returns, returns, mask), torch.tensor(-3.0))
    assert explained_variance(returns, returns, mask).item() == 1.0
    constant = explained_variance(torch.full((2, 2), 9.0), returns, mask)
    torch.testing.assert_close(constant, torch.tensor(0.0))


def test_explained_variance_sees_the_mask_only():
    returns = torch.tensor([1.0, 2.0, 3.0, 4.0, math.nan])
    values = torch.tensor([1.0, 2.0, 3.0, 2.0, math.inf])
    mask = torch.tensor([True, True, True, True, False])
    torch.testing.assert_close(explained_variance(values, returns, mask), torch.tensor(0.4))


def test_explained_variance_of_returns_that_do_not_vary_is_zero():
    mask = torch.ones(2, dtype=torch.bool)
    same = torch.full((2,), 4.0)
    for values in (same, torch.tensor([1.0, 2.0])):
        assert explained_variance(values, same, mask).item() == 0.0
    nothing = torch.zeros(2, dtype=torch.bool)
    assert explained_variance(torch.tensor([1.0, 2.0]), same, nothing).item() == 0.0

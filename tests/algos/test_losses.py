import math

import pytest
import torch

from workbench.algos.logprobs import chunked_token_logprobs, chunked_token_stats
from workbench.algos.losses import (
    bradley_terry,
    centring,
    clipped_policy_loss,
    clipped_value_loss,
)

ONE = torch.ones(1, 1, dtype=torch.bool)


def policy_loss_of_one_token(ratio, advantage):
    """Loss, gradient with respect to the log-probability, and the statistics."""
    logprob = torch.tensor([[math.log(ratio) - 2.0]], requires_grad=True)
    result = clipped_policy_loss(
        logprob,
        torch.tensor([[-2.0]]),
        torch.tensor([[advantage]]),
        ONE,
        clip_range=0.2,
        token_count=1,
    )
    result.loss.backward()
    return result, logprob.grad.item()


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient", "clipped"),
    [
        (1.5, 1.0, -1.2, 0.0, 1.0),  # too far up with profit: held, no pull
        (1.5, -1.0, 1.5, 1.5, 1.0),  # too far up at a loss: pulled back
        (0.5, 1.0, -0.5, -0.5, 1.0),  # too far down at a loss: pulled back
        (0.5, -1.0, 0.8, 0.0, 1.0),  # too far down with profit: held
        (1.1, 2.0, -2.2, -2.2, 0.0),
        (1.0, 3.0, -3.0, -3.0, 0.0),
    ],
)
def test_clipped_policy_loss_of_one_token(ratio, advantage, loss, gradient, clipped):
    result, got = policy_loss_of_one_token(ratio, advantage)
    assert result.loss.item() == pytest.approx(loss, rel=1e-6)
    assert got == pytest.approx(gradient, rel=1e-6)
    assert result.clip_fraction.item() == clipped
    assert result.ratio_mean.item() == pytest.approx(ratio, rel=1e-6)
    assert result.approx_kl.item() == pytest.approx(ratio - 1 - math.log(ratio), abs=1e-6)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "clipped"),
    [
        (1.3, 1.0, -1.3, 0.0),  # above 1.2, and not held before 1.4
        (1.5, 1.0, -1.4, 1.0),
        (0.7, -1.0, 0.8, 1.0),  # below as before
    ],
)
def test_clip_higher_moves_the_upper_end_alone(ratio, advantage, loss, clipped):
    given = torch.tensor([[math.log(ratio)]]), torch.zeros(1, 1), torch.tensor([[advantage]])
    result = clipped_policy_loss(*given, ONE, clip_range=0.2, clip_range_high=0.4, token_count=1)
    assert result.loss.item() == pytest.approx(loss, rel=1e-6)
    assert result.clip_fraction.item() == clipped


def test_statistics_are_means_over_the_whole_mini_batch():
    ratios = torch.tensor([[1.5, 1.0, 0.5], [1.1, math.nan, math.nan]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    result = clipped_policy_loss(
        ratios.log(), torch.zeros(2, 3), torch.ones(2, 3), mask, clip_range=0.2, token_count=8
    )
    # four of the mini-batch's eight tokens are here
    assert result.ratio_mean.item() == pytest.approx((1.5 + 1.0 + 0.5 + 1.1) / 8)
    assert result.clip_fraction.item() == 2 / 8
    logs = math.log(1.5) + math.log(0.5) + math.log(1.1)
    assert result.approx_kl.item() == pytest.approx((0.5 + 0.0 - 0.5 + 0.1 - logs) / 8)
    assert result.loss.item() == pytest.approx(-(1.2 + 1.0 + 0.5 + 1.1) / 8)


def test_approx_kl_averages_to_the_kl_of_the_rollout_policy_from_the_policy():
    rollout, policy = torch.tensor([0.5, 0.5]), torch.tensor([0.8, 0.2])
    exact = (rollout * (rollout / policy).log()).sum().item()
    mask = torch.ones(1, 2, dtype=torch.bool)
    result = clipped_policy_loss(
        policy.log()[None], rollout.log()[None], mask.float(), mask, clip_range=0.2, token_count=2
    )  # two tokens, each drawn by the rollout policy in half of all cases
    assert result.approx_kl.item() == pytest.approx(exact, rel=1e-5)


def test_before_the_first_step_ratio_is_one_and_nothing_is_clipped():
    torch.manual_seed(0)
    hidden, head = torch.randn(12, 4), torch.nn.Linear(4, 30)
    tokens, mask = torch.randint(30, (12,)), torch.ones(3, 4, dtype=torch.bool)
    with torch.no_grad():
        sampled = chunked_token_logprobs(hidden, tokens, head, temperature=0.7, chunk=12).view(3, 4)
    now = chunked_token_stats(hidden, tokens, head, temperature=0.7, chunk=5).logprobs.view(3, 4)
    advantages = torch.randn(3, 4)
    result = clipped_policy_loss(now, sampled, advantages, mask, clip_range=0.2, token_count=12)
    assert ((now - sampled).exp() - 1).abs().max() <= 1e-6
    assert result.ratio_mean.item() == pytest.approx(1.0, abs=1e-6)
    assert result.approx_kl.item() == pytest.approx(0.0, abs=1e-9)
    assert result.clip_fraction.item() == 0.0
    assert result.loss.item() == pytest.approx(-advantages.mean().item(), abs=1e-6)
    same = clipped_policy_loss(sampled, sampled, advantages, mask, clip_range=0.2, token_count=12)
    assert same.ratio_mean.item() == 1.0 and same.approx_kl.item() == 0.0


def ppo_batch():
    torch.manual_seed(0)
    old, mask = torch.randn(8, 5), torch.arange(5)[None] < torch.randint(1, 6, (8, 1))
    # far enough apart that some tokens are clipped
    return old + 0.3 * torch.randn(8, 5), old, torch.randn(8, 5), mask


@pytest.mark.parametrize("size", [1, 2, 8])
@pytest.mark.parametrize("loss", [clipped_policy_loss, clipped_value_loss])
def test_micro_batches_add_up_to_the_token_mean(loss, size):
    now, old, target, mask = ppo_batch()
    count = mask.sum()
    weight = torch.tensor(1.1, requires_grad=True)
    totals, rows = None, range(0, 8, size)
    for start in rows:
        part = slice(start, start + size)
        result = loss(
            weight * now[part],
            old[part],
            target[part],
            mask[part],
            clip_range=0.2,
            token_count=count,
        )
        result.loss.backward()
        values = torch.stack([value.detach() for value in result])
        totals = values if totals is None else totals + values

    again = torch.tensor(1.1, requires_grad=True)
    if loss is clipped_policy_loss:
        ratio = (again * now[mask] - old[mask]).exp()
        clipped = ratio.clamp(0.8, 1.2)
        mean = -torch.minimum(target[mask] * ratio, target[mask] * clipped).mean()
        fraction = (clipped != ratio).float().mean()
    else:
        near = old[mask] + (again * now[mask] - old[mask]).clamp(-0.2, 0.2)
        errors = [(v - target[mask]).square() for v in (again * now[mask], near)]
        mean = 0.5 * torch.maximum(*errors).mean()
        fraction = (errors[1] > errors[0]).float().mean()
    mean.backward()
    torch.testing.assert_close(weight.grad, again.grad, rtol=1e-5, atol=0)
    torch.testing.assert_close(totals[0], mean.detach(), rtol=1e-5, atol=0)
    torch.testing.assert_close(totals[1], fraction, rtol=1e-5, atol=0)
    assert 0 < fraction < 1


@pytest.mark.parametrize("loss", [clipped_policy_loss, clipped_value_loss])
@pytest.mark.parametrize("junk", [1e4, math.nan, math.inf])
def test_padding_reaches_neither_loss_nor_gradient(loss, junk):
    now, old, target, mask = ppo_batch()
    results = []
    for fill in (0.0, junk):
        inputs = [torch.where(mask, x, fill) for x in (now, old, target)]
        inputs[0].requires_grad_()
        result = loss(*inputs, mask, clip_range=0.2, token_count=mask.sum())
        result.loss.backward()
        assert (inputs[0].grad[~mask] == 0).all()
        results.append([*result, inputs[0].grad])
    for clean, dirty in zip(*results, strict=True):
        assert torch.equal(clean, dirty)


@pytest.mark.parametrize("loss", [clipped_policy_loss, clipped_value_loss])
def test_only_the_loss_and_only_the_present_carry_gradients(loss):
    now, old, target, mask = ppo_batch()
    inputs = [x.requires_grad_() for x in (now, old, target)]
    result = loss(*inputs, mask, clip_range=0.2, token_count=3)
    assert [value.requires_grad for value in result] == [True] + [False] * (len(result) - 1)
    result.loss.backward()
    assert inputs[0].grad is not None and inputs[1].grad is inputs[2].grad is None


@pytest.mark.parametrize("loss", [clipped_policy_loss, clipped_value_loss])
def test_a_token_count_may_be_a_number_or_a_tensor_and_none_valid_is_zero(loss):
    now, old, target, mask = ppo_batch()
    number = loss(now, old, target, mask, clip_range=0.2, token_count=7)
    tensor = loss(now, old, target, mask, clip_range=0.2, token_count=torch.tensor(7))
    assert number == tensor
    nothing = loss(now, old, target, mask & False, clip_range=0.2, token_count=0)
    assert [value.item() for value in nothing] == [0.0] * len(nothing)


@pytest.mark.parametrize(
    ("value", "target", "loss", "gradient", "clipped"),
    [
        (1.0, 1.0, 0.32, 0.0, 1.0),  # right, but too far at once: held, 0.5 * (0.2 - 1)^2
        (1.0, 2.0, 1.62, 0.0, 1.0),  # 0.5 * (0.2 - 2)^2
        (1.0, -1.0, 2.0, 2.0, 0.0),  # the wrong way: pulled back in full
        (-1.0, -1.0, 0.32, 0.0, 1.0),
        (0.1, 1.0, 0.405, -0.9, 0.0),
    ],
)
def test_clipped_value_loss_of_one_token(value, target, loss, gradient, clipped):
    now = torch.tensor([[value]], requires_grad=True)
    result = clipped_value_loss(
        now, torch.zeros(1, 1), torch.tensor([[target]]), ONE, clip_range=0.2, token_count=1
    )
    result.loss.backward()
    assert result.loss.item() == pytest.approx(loss, rel=1e-6)
    assert now.grad.item() == pytest.approx(gradient, rel=1e-6)
    assert result.clip_fraction.item() == clipped


def test_value_clipping_is_about_the_rollout_value():
    result = clipped_value_loss(
        torch.tensor([[6.0]]),
        torch.tensor([[5.0]]),
        torch.tensor([[6.0]]),
        ONE,
        clip_range=0.2,
        token_count=2,
    )
    assert result.loss.item() == pytest.approx(0.5 * 0.8**2 / 2)


@pytest.mark.parametrize(
    ("delta", "loss"),
    [
        (0.0, 0.693147),
        (1.0, 0.313262),
        (-1.0, 1.313262),
        (-10.0, 10.0000454),  # the lecture's rows: scores (0, 10) and (5, 0)
        (5.0, 0.00671535),
        (-1000.0, 1000.0),
    ],
)
def test_bradley_terry_by_hand(delta, loss):
    chosen = torch.tensor([delta + 3.0], requires_grad=True)
    rejected = torch.tensor([3.0], requires_grad=True)
    got = bradley_terry(chosen, rejected)
    got.sum().backward()
    assert got.item() == pytest.approx(loss, rel=2e-6)
    slope = -1 / (1 + math.exp(delta)) if delta > -700 else -1.0  # -sigmoid(-delta)
    assert chosen.grad.item() == pytest.approx(slope, rel=1e-5)
    assert rejected.grad.item() == -chosen.grad.item()


def test_a_margin_moves_the_line_to_beat():
    chosen, rejected = torch.tensor([2.0, 0.5]), torch.tensor([0.0, 0.0])
    got = bradley_terry(chosen, rejected, margin=torch.tensor([1.0, 1.5]))
    torch.testing.assert_close(got, torch.tensor([0.313262, 1.313262]))


def test_label_smoothing_mixes_in_the_swapped_pair():
    chosen, rejected = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    got = bradley_terry(chosen, rejected, label_smoothing=0.1)
    # 0.9 * 0.313262 + 0.1 * 1.313262, and the other way round
    torch.testing.assert_close(got, torch.tensor([0.413262, 1.213262]))


def test_centring_by_hand():
    got = centring(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([-1.0, 1.0, -5.0]))
    torch.testing.assert_close(got, torch.tensor([0.0, 9.0, 4.0]))


def test_half_precision_scores_are_widened_first():
    high, low = torch.tensor([6e4]).half(), torch.tensor([-6e4]).half()
    worst = bradley_terry(low, high)
    torch.testing.assert_close(worst, (high.float() - low.float()))
    torch.testing.assert_close(centring(high, high), (2 * high.float()).square())

"""From episodes to what PPO optimises: two answers of 3 and 2 tokens, every number by hand."""

import math

import pytest
import torch

from workbench.models.encoding import Encoded
from workbench.settings import PPOSettings
from workbench.training.ppo.objective import (
    Shaping,
    describe,
    estimate,
    response_kl,
    sample_rows,
    whitened,
)
from workbench.training.ppo.rollout import Episodes

from ...models.tiny import tiny_settings, user

PAID = torch.tensor([2.0, -1.5])  # at the end of the two answers


def settings(**changes):
    return tiny_settings(PPOSettings, **changes)


@pytest.fixture
def episodes():
    mask = torch.tensor([[True, True, True], [True, True, False]])
    policy = torch.tensor([[-1.0, -2.0, -0.5], [-1.5, -1.0, 0.0]])
    ref = torch.tensor([[-1.5, -2.0, -1.0], [-1.0, -1.2, 0.0]])
    return Episodes(
        rows=[Encoded([2], [5, 6, 7]), Encoded([2], [5, 6])],
        messages=[user("a"), user("b")],
        temperature=1.0,
        scores=torch.tensor([2.0, -1.0]),
        parts={},
        ended=torch.tensor([True, False]),
        rollout_logprobs=policy,
        ref_logprobs=ref,
        values=torch.tensor([[0.5, 1.0, 1.5], [0.0, -0.5, 0.0]]),
        entropy=torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 0.0]]),
        response_mask=mask,
    )


def test_kl_of_each_answer(episodes):
    """0.5 + 0 + 0.5, and -0.5 + 0.2."""
    torch.testing.assert_close(response_kl(episodes), torch.tensor([1.0, -0.3]))


def test_gae_on_charged_rewards(episodes):
    """beta 0.1: rewards -0.05, 0, 1.95 | 0.05, -1.52; gamma 1, lambda 0: TD errors."""
    found = estimate(episodes, PAID, settings(lam=0.0, whiten_advantages=False), kl_coef=0.1)
    expected = torch.tensor(
        [
            [-0.05 + 1.0 - 0.5, 0.0 + 1.5 - 1.0, 1.95 - 1.5],
            [0.05 - 0.5 - 0.0, -1.52 + 0.5, 0.0],
        ]
    )
    torch.testing.assert_close(found.advantages, expected)
    torch.testing.assert_close(found.returns, expected + episodes.values)


def test_whitened_advantages_leave_the_returns(episodes):
    raw = estimate(episodes, PAID, settings(), kl_coef=0.1)
    assert whitened(raw, episodes.response_mask, settings(whiten_advantages=False)) is raw
    white = whitened(raw, episodes.response_mask, settings())
    torch.testing.assert_close(white.returns, raw.returns)
    kept = white.advantages[episodes.response_mask]
    assert float(kept.mean()) == pytest.approx(0.0, abs=1e-6)
    assert float(kept.std(correction=0)) == pytest.approx(1.0, abs=1e-5)
    assert float(white.advantages[1, 2]) == 0.0


def test_rloo_compares_whole_answers_with_their_charge(episodes):
    """Rewards 2 - 0.1 and -1.5 + 0.03: each less the other's."""
    given = settings(advantage="rloo", samples_per_prompt=2, batch_size=2, whiten_advantages=False)
    found = estimate(episodes, PAID, given, kl_coef=0.1)
    gap = (2.0 - 0.1) - (-1.5 + 0.03)
    expected = torch.tensor([[gap, gap, gap], [-gap, -gap, 0.0]])
    torch.testing.assert_close(found.advantages, expected)
    assert not found.returns.any()


def test_group_divides_by_the_deviation(episodes):
    """Two answers are one deviation above and below their mean, whatever the gap."""
    given = settings(advantage="group", samples_per_prompt=2, batch_size=2, whiten_advantages=False)
    found = estimate(episodes, PAID, given, kl_coef=0.1).advantages
    torch.testing.assert_close(found[:, 0], torch.tensor([1.0, -1.0]), rtol=0, atol=1e-3)


def test_group_without_the_deviation_keeps_the_gap(episodes):
    """Dr. GRPO: half of RLOO's with two answers, in reward."""
    given = settings(advantage="group", samples_per_prompt=2, batch_size=2, group_scale="none")
    found = estimate(episodes, PAID, given, kl_coef=0.1).advantages
    half = ((2.0 - 0.1) - (-1.5 + 0.03)) / 2
    torch.testing.assert_close(found[:, 0], torch.tensor([half, -half]))


def test_kl_in_the_loss_is_not_in_the_reward(episodes):
    given = settings(advantage="rloo", samples_per_prompt=2, batch_size=2, kl_place="loss")
    found = estimate(episodes, PAID, given, kl_coef=0.1).advantages
    torch.testing.assert_close(found[:, 0], torch.tensor([3.5, -3.5]))  # 2 and -1.5


@pytest.mark.parametrize(
    ("advantage", "asked", "whitens"),
    [
        ("gae", "auto", True),
        ("rloo", "auto", False),
        ("group", "auto", False),
        ("rloo", True, True),
        ("gae", False, False),
    ],
)
def test_advantages_that_compare_answers_are_whitened_where_asked(advantage, asked, whitens):
    assert settings(advantage=advantage, whiten_advantages=asked).whitens is whitens


def test_what_is_told_of_an_update(episodes):
    given = settings(lam=0.0)
    estimates = estimate(episodes, PAID, given, kl_coef=0.1)
    found = describe(episodes, PAID, estimates, given, kl_coef=0.1)
    deltas = torch.tensor([0.45, 0.5, 0.45, -0.45, -1.02])  # as in the test of GAE above
    expected = {
        "objective/kl": (1.0 - 0.3) / 2,
        "objective/entropy": 8.0 / 5,
        "objective/scores": 0.5,
        "objective/scores_std": 1.5,
        "objective/rlhf_reward": ((2.0 - 0.1) + (-1.5 + 0.03)) / 2,
        "response/length": 2.5,
        "response/length_max": 3.0,
        "response/eos_rate": 0.5,
        "advantages/mean": float(deltas.mean()),
        "advantages/std": float(deltas.std(correction=0)),
        "kl_coef": 0.1,
        "value/mean": (0.5 + 1.0 + 1.5 + 0.0 - 0.5) / 5,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    without = describe(episodes, PAID, estimates, settings(advantage="rloo"), kl_coef=0.1)
    assert "value/mean" not in without


def test_the_charge_by_each_estimator(episodes):
    """d = log ref - log policy: -0.5, 0, -0.5 | 0.5, -0.2; k2 = d²/2, k3 = exp(d) - 1 - d."""
    d = [[-0.5, 0.0, -0.5], [0.5, -0.2]]
    by_hand = {
        "k1": [[-x for x in row] for row in d],
        "k2": [[x * x / 2 for x in row] for row in d],
        "k3": [[math.exp(x) - 1 - x for x in row] for row in d],
    }
    for name, kl in by_hand.items():
        given = settings(kl_estimator=name, gamma=1.0, lam=1.0)
        returns = estimate(episodes, PAID, given, kl_coef=0.1).returns[:, 0]
        expected = torch.tensor([2.0 - 0.1 * sum(kl[0]), -1.5 - 0.1 * sum(kl[1])])
        torch.testing.assert_close(returns, expected)
        told = describe(
            episodes, PAID, estimate(episodes, PAID, given, kl_coef=0.1), given, kl_coef=0.1
        )
        assert told["objective/rlhf_reward"] == pytest.approx(float(expected.mean()), abs=1e-6)
        assert told["objective/kl"] == pytest.approx(0.35)  # told by k1, whatever is charged


def test_what_is_paid_for_scores_of_2_and_minus_1(episodes):
    """Lengths 3 and 2; the second did not end."""
    plain = {"missing_eos_penalty": 0.0, "score_clip": 0.0}

    def paid(shaping):
        return shaping.paid(episodes).tolist()

    assert paid(Shaping(settings(**plain))) == [2.0, -1.0]
    given = settings(score_clip=0.5, missing_eos_penalty=0.25, length_penalty=0.125)
    assert paid(Shaping(given)) == [0.5 - 0.375, -0.5 - 0.25 - 0.25]
    batch = Shaping(settings(score_normalisation="batch", **plain))
    assert paid(batch) == pytest.approx([1.0, -1.0])  # mean 0.5, deviation 1.5


def test_running_normalisation_remembers(episodes):
    shaping = Shaping(settings(score_normalisation="running", missing_eos_penalty=0.0))
    assert shaping.paid(episodes).tolist() == [2.0, -1.0]  # nothing is known yet
    shaping.learn(torch.tensor([5.0, 3.0]))  # mean 4, deviation 1
    assert shaping.paid(episodes).tolist() == pytest.approx([-2.0, -5.0])
    fixed = Shaping(settings(missing_eos_penalty=0.0))
    fixed.learn(torch.tensor([5.0, 3.0]))
    assert fixed.paid(episodes).tolist() == [2.0, -1.0]


class Named:
    """An encoder that knows two answers by their ids."""

    def __init__(self, episodes):
        self.answers = [row.response for row in episodes.rows]

    def decode(self, ids):
        return ["one", "two"][self.answers.index(ids)]

    def pieces(self, ids):
        return [["x", " y", " z"], ["x", " y"]][self.answers.index(ids)]


def test_rows_of_the_sample_table(episodes):
    encoder = Named(episodes)
    estimates = estimate(episodes, PAID, settings(lam=0.0), kl_coef=0.1)
    judge = lambda p, t: float(len(p[0]["content"]))  # noqa: E731
    rows = sample_rows(episodes, encoder, estimates, judge)
    assert rows[1] == {
        "prompt": "b",
        "response": "two",
        "score": -1.0,
        "kl": pytest.approx(-0.3),
        "ended": False,
        "tokens": ["x", " y"],
        "token_kl": pytest.approx([-0.5, 0.2]),
        "token_value": [0.0, -0.5],
        "token_advantage": pytest.approx([-0.45, -1.02]),
        "gold": 1.0,
    }
    bare = sample_rows(episodes, encoder, None, None)[0]
    assert not {"gold", "token_value", "token_advantage"} & set(bare)
    assert bare["token_kl"] == [0.5, 0.0, 0.5]

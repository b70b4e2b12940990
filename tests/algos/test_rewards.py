import math

import torch

from workbench.algos.rewards import clip_scores, ended, token_rewards

EOS, OTHER_EOS = 2, 9


def mask_of(*lengths, width):
    return torch.arange(width)[None] < torch.tensor(lengths)[:, None]


def test_per_token_kl_and_score_by_hand():
    # the three differences of the blog's example, the score 0.4, and beta = 0.15:
    # 0.15 * 0.3315, 0.15 * 0.0426, -0.15 * 0.6351 + 0.4
    ref = torch.tensor([[-3.3213, -4.9980, -3.8690]])
    policy = ref + torch.tensor([[-0.3315, -0.0426, 0.6351]])
    mask = mask_of(3, width=3)
    got = token_rewards(torch.tensor([0.4]), policy, ref, mask, kl_coef=0.15)
    torch.testing.assert_close(got, torch.tensor([[0.049725, 0.00639, 0.304735]]))
    # and their sum is score - beta * sum of k1 = 0.4 - 0.15 * 0.261
    torch.testing.assert_close(got.sum(), torch.tensor(0.36085))


def test_without_a_charge_only_the_last_valid_token_is_paid():
    torch.manual_seed(0)
    policy, ref = torch.randn(4, 5), torch.randn(4, 5)
    scores = torch.tensor([1.0, -2.0, 3.0, 4.0])
    got = token_rewards(scores, policy, ref, mask_of(5, 3, 1, 0, width=5), kl_coef=0.0)
    expected = torch.zeros(4, 5)
    expected[0, 4], expected[1, 2], expected[2, 0] = 1.0, -2.0, 3.0
    assert torch.equal(got, expected)  # the empty row is all zeros


def test_the_score_goes_to_the_eos():
    mask = mask_of(2, width=4)  # an answer of a word and EOS
    zeros = torch.zeros(1, 4)
    got = token_rewards(torch.tensor([3.0]), zeros, zeros, mask, kl_coef=0.1)
    torch.testing.assert_close(got, torch.tensor([[0.0, 3.0, 0.0, 0.0]]))


def test_the_score_goes_to_the_last_token_where_the_mask_has_a_gap():
    mask = torch.tensor([[True, False, True, False]])
    zeros = torch.zeros(1, 4)
    got = token_rewards(torch.tensor([3.0]), zeros, zeros, mask, kl_coef=0.1)
    torch.testing.assert_close(got, torch.tensor([[0.0, 0.0, 3.0, 0.0]]))


def test_padding_never_reaches_the_rewards():
    policy = torch.tensor([[-1.0, math.nan, -math.inf]])
    ref = torch.tensor([[-1.5, math.inf, -math.inf]])
    got = token_rewards(torch.tensor([2.0]), policy, ref, mask_of(1, width=3), kl_coef=0.1)
    torch.testing.assert_close(got, torch.tensor([[1.95, 0.0, 0.0]]))


def test_half_precision_scores_take_the_rewards_precision():
    zeros, mask = torch.zeros(1, 2), mask_of(2, width=2)
    got = token_rewards(torch.tensor([0.5]).half(), zeros, zeros, mask, kl_coef=0.1)
    assert got.dtype == torch.float32


def test_scores_are_held_within_the_limit():
    got = clip_scores(torch.tensor([-7.0, -2.0, 0.5, 2.5, math.inf]), limit=2.0)
    assert got.tolist() == [-2.0, -2.0, 0.5, 2.0, 2.0]


def test_ended_looks_at_the_last_valid_token_only():
    tokens = torch.tensor(
        [
            [5, EOS, 0, 0],  # ended
            [5, 6, 7, 8],  # cut off
            [5, 6, EOS, 0],  # the EOS stands behind the mask
            [EOS, 6, 7, 0],  # an EOS that is not the last token
            [5, 6, 7, OTHER_EOS],
            [EOS, EOS, EOS, EOS],  # no valid token
        ]
    )
    mask = mask_of(2, 4, 2, 3, 4, 0, width=4)
    got = ended(tokens, mask, [EOS, OTHER_EOS])
    assert got.tolist() == [True, False, False, False, True, False]
    assert ended(tokens, mask, [EOS]).tolist() == [True, False, False, False, False, False]


def test_a_sampled_response_has_ended_exactly_if_an_eos_is_in_it():
    torch.manual_seed(0)
    tokens = torch.randint(10, (200, 6))
    rows = tokens.tolist()
    lengths = [row.index(EOS) + 1 if EOS in row else len(row) for row in rows]
    got = ended(tokens, mask_of(*lengths, width=6), [EOS])
    assert got.tolist() == [EOS in row for row in rows]
    assert 0 < got.sum() < 200

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.algos.scores import RunningMoments, end_rewards, standardised


def test_moments_by_hand():
    """1, 3 and then 8: mean 4, squared deviations 9 + 1 + 16."""
    moments = RunningMoments().updated(torch.tensor([1.0, 3.0]))
    assert (moments.count, moments.mean, moments.squares, moments.std) == (2.0, 2.0, 2.0, 1.0)
    moments = moments.updated(torch.tensor([8.0]))
    assert (moments.count, moments.mean, moments.squares) == (3.0, 4.0, 26.0)
    assert moments.std == math.sqrt(26 / 3)
    assert moments.updated(torch.tensor([])) == moments


@given(st.lists(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=5), min_size=1, max_size=5))
def test_moments_do_not_depend_on_the_batches(batches):
    moments = RunningMoments()
    for batch in batches:
        moments = moments.updated(torch.tensor(batch, dtype=torch.float64))
    flat = torch.tensor([value for batch in batches for value in batch], dtype=torch.float64)
    assert moments.mean == pytest.approx(float(flat.mean()), abs=1e-9)
    assert moments.std == pytest.approx(float(flat.std(correction=0)), abs=1e-6)


def test_standardised_by_hand():
    moments = RunningMoments().updated(torch.tensor([1.0, 3.0]))
    found = standardised(torch.tensor([1.0, 3.0, 5.0]), moments)
    torch.testing.assert_close(found, torch.tensor([-1.0, 1.0, 3.0]))


def test_equal_scores_become_0():
    same = torch.tensor([2.5, 2.5])
    assert standardised(same, RunningMoments().updated(same)).tolist() == [0.0, 0.0]


SCORES = torch.tensor([5.0, -0.5, -7.0])
LENGTHS = torch.tensor([10, 4, 1])
ENDED = torch.tensor([True, False, False])


def paid(**changes):
    nothing = {"clip": 0.0, "missing_eos_penalty": 0.0, "length_penalty": 0.0}
    return end_rewards(SCORES, LENGTHS, ENDED, **{**nothing, **changes}).tolist()


def test_without_options_the_score_is_paid():
    assert paid() == [5.0, -0.5, -7.0]


def test_each_penalty_by_hand():
    assert paid(clip=2.0) == [2.0, -0.5, -2.0]
    assert paid(missing_eos_penalty=1.5) == [5.0, -2.0, -8.5]
    assert paid(length_penalty=0.25) == [2.5, -1.5, -7.25]


def test_penalties_are_outside_of_the_clip():
    """2 - 0.25 * 10; -0.5 - 1 - 0.25 * 4; -2 - 1 - 0.25."""
    assert paid(clip=2.0, missing_eos_penalty=1.0, length_penalty=0.25) == [-0.5, -2.5, -3.25]

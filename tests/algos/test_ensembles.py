"""Three members' scores of two answers: (1, 2, 3) and (0, 0, 6)."""

import math

import torch

from workbench.algos.ensembles import REDUCERS

MEMBERS = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 6.0]])


def test_the_mean():
    assert REDUCERS["mean"](MEMBERS, 9.0).tolist() == [2.0, 2.0]


def test_the_worst():
    assert REDUCERS["worst"](MEMBERS, 9.0).tolist() == [1.0, 0.0]


def test_the_mean_less_half_the_deviation():
    """Squared distances 1, 0, 1 and 4, 4, 16: variances 2/3 and 8."""
    found = REDUCERS["mean_minus_std"](MEMBERS, 0.5)
    expected = [2.0 - 0.5 * math.sqrt(2 / 3), 2.0 - 0.5 * math.sqrt(8.0)]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_one_member_alone_is_its_own_score():
    for reduce in REDUCERS.values():
        assert reduce(MEMBERS[:1], 2.0).tolist() == [1.0, 0.0]

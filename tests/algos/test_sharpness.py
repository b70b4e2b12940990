import math

import pytest
import torch

from workbench.algos.sharpness import LEAST, MOST, sharpness


@pytest.mark.parametrize("gap", [0.5, 2.0])
def test_three_of_four_right_by_one_gap(gap):
    """sigmoid(s * gap) must be 3/4, so s = ln 3 / gap."""
    margins = torch.tensor([gap, gap, gap, -gap])
    assert sharpness(margins) == pytest.approx(math.log(3) / gap, rel=1e-9)


def test_a_calibrated_model_stays_as_it_is():
    margins = torch.randn(200_000, generator=torch.Generator().manual_seed(0)).double() * 2
    agrees = (
        torch.rand(len(margins), generator=torch.Generator().manual_seed(1)) < margins.sigmoid()
    )
    labelled = torch.where(agrees, margins, -margins)
    assert sharpness(labelled) == pytest.approx(1.0, abs=0.02)
    assert sharpness(labelled * 3) == pytest.approx(1 / 3, abs=0.01)


def test_it_lowers_the_loss_and_stays_within_bounds():
    margins = torch.tensor([2.0, 1.0, -0.5, 3.0, -1.0])
    best = sharpness(margins)
    losses = [
        float(-torch.nn.functional.logsigmoid(s * margins).mean())
        for s in (best, best * 1.01, best / 1.01)
    ]
    assert losses[0] < min(losses[1:])
    assert sharpness(torch.tensor([1.0, 2.0])) == pytest.approx(MOST)
    assert sharpness(torch.tensor([-1.0, -2.0])) == pytest.approx(LEAST)


def test_without_a_margin_nothing_is_changed():
    assert sharpness(torch.zeros(3)) == 1.0
    assert sharpness(torch.zeros(0)) == 1.0

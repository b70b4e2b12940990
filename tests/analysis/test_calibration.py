"""Worked by hand: at a margin of ln 3 a model is 3/4 sure, sigmoid(ln 3) = 3/4."""

import math

import numpy as np
import pytest

from workbench.analysis.calibration import (
    brier,
    confidence,
    curve,
    ece,
    ece_by_chance,
    ece_interval,
    equal_mass,
    loss,
    rightness,
)
from workbench.analysis.scored_items import ItemRows

LN3 = math.log(3)


def arrays(*margins):
    found = np.array(margins, dtype=float)
    return found, np.ones(len(found))


def error(margins, weight):
    return ece(confidence(margins), rightness(margins), weight)


def test_confidence_is_that_of_the_answer_the_model_prefers():
    margins, _ = arrays(LN3, -LN3, 0.0)
    assert confidence(margins) == pytest.approx([0.75, 0.75, 0.5])
    assert rightness(margins).tolist() == [1.0, 0.0, 0.5]


def test_brier_and_loss():
    margins, _ = arrays(LN3, -LN3, 0.0)
    assert brier(margins) == pytest.approx([1 / 16, 9 / 16, 1 / 4])
    assert loss(margins) == pytest.approx([math.log(4 / 3), math.log(4), math.log(2)])


def test_far_margins_stay_finite():
    margins, _ = arrays(1e4, -1e4)
    with np.errstate(over="raise"):
        assert loss(margins).tolist() == [0.0, 1e4]
        assert brier(margins).tolist() == [0.0, 1.0]
        assert confidence(margins).tolist() == [1.0, 1.0]


def test_a_model_that_is_right_as_often_as_it_is_sure_has_no_error():
    assert error(*arrays(*[LN3, LN3, LN3, -LN3] * 10)) == pytest.approx(0.0)
    assert error(*arrays(*[LN3] * 40)) == pytest.approx(0.25)
    assert error(*arrays(*[LN3, -LN3] * 20)) == pytest.approx(0.25)


def test_gaps_of_different_bins_do_not_cancel():
    """Ten at 3/4 of which all are right, ten at 9/10 of which 1/2 are: (1/4 + 4/10) / 2."""
    margins, weight = arrays(*[LN3] * 20, *[math.log(9), -math.log(9)] * 10)
    assert error(margins, weight) == pytest.approx((0.25 + 0.4) / 2)


def test_bins_hold_the_same_weight():
    sure = np.linspace(0.5, 1, 100)
    assert np.bincount(equal_mass(sure, np.ones(100))).tolist() == [10] * 10
    heavy = np.r_[np.full(50, 1.0), np.full(50, 1 / 9)]  # of 55.6: the light ones fill one bin
    place = equal_mass(sure, heavy)
    mass = np.bincount(place, weights=heavy)
    assert np.all(np.abs(mass - heavy.sum() / 10) <= 1.0) and (np.diff(place) >= 0).all()


def test_the_curve_by_hand():
    first, *_, last = curve(*arrays(*[0.1] * 10, *[LN3] * 80, *[-5.0] * 10))
    assert (first.comparisons, first.accuracy) == (10, 1.0)
    assert (last.bin, last.accuracy, last.high) == (10, 0.0, pytest.approx(0.2775, abs=1e-4))
    assert last.confidence == pytest.approx(1 / (1 + math.exp(-5)))


def test_by_chance_one_comparison_a_bin_is_always_half_off():
    chance = ece_by_chance(*arrays(*[0.0] * 10))
    assert (chance.mean, chance.most) == (0.5, 0.5)
    many = ece_by_chance(*arrays(*[0.0] * 4000))
    assert many.mean == pytest.approx(math.sqrt(2 / math.pi) * 0.5 / 20, rel=0.1)  # E|noise| a bin


def test_the_interval_begins_at_zero_where_chance_explains_the_error():
    rng = np.random.default_rng(0)
    margins = rng.normal(0, 1.5, 1000)
    margins = np.abs(margins) * np.where(rng.random(1000) < confidence(margins), 1, -1)
    weight, rows = np.ones(1000), ItemRows(np.arange(1000))
    found = ece_interval(margins, weight, rows, ece_by_chance(margins, weight))
    assert found.low == 0.0 and 0.0 < (found.high or 0.0) < 0.06
    sharp = ece_interval(margins * 3, weight, rows, ece_by_chance(margins * 3, weight))
    low, value, high = (part or 0.0 for part in (sharp.low, sharp.value, sharp.high))
    assert 0.05 < low < value < high


def test_one_item_has_no_interval():
    margins, weight = arrays(LN3)
    found = ece_interval(margins, weight, ItemRows(np.array([0])), ece_by_chance(margins, weight))
    assert found.value == pytest.approx(0.25) and found.low is None

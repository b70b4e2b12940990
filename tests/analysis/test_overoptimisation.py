"""The curve is found again from points on it, its peak where calculus puts it."""

import math

import numpy as np
import pytest

from workbench.analysis.overoptimisation import (
    BEST_OF_N,
    RL,
    FittedCurve,
    fit_curve,
    peak_of_best_of_n,
    peak_of_run,
)

D = np.linspace(0.0, 4.0, 60)


def on(curve, d=D):
    return np.array([curve.at(x) for x in d])


@pytest.mark.parametrize("form", [RL, BEST_OF_N])
def test_points_on_a_curve_give_the_curve(form):
    made = FittedCurve(form, 0.5, 0.4, 0.2)
    assert fit_curve(D, on(made), form)[1:] == pytest.approx((0.5, 0.4, 0.2))


def test_the_peak_is_where_the_slope_is_zero():
    """d (0.4 - 0.2 log d): slope 0.2 - 0.2 log d, so d = e. d (0.4 - 0.2 d): d = 1."""
    assert FittedCurve(RL, 0.0, 0.4, 0.2).peak == pytest.approx(math.e)
    assert FittedCurve(BEST_OF_N, 0.0, 0.4, 0.2).peak == pytest.approx(1.0)
    assert FittedCurve(RL, 0.0, 0.4, -0.1).peak is None
    assert FittedCurve(BEST_OF_N, 0.0, -0.4, 0.2).peak is None  # it falls from the first nat on
    assert FittedCurve(RL, 0.0, 1.0, 1e-9).peak is None  # so far out that no number holds it


def test_a_run_that_turned_down_has_a_peak_and_its_interval_holds_it():
    noise = np.random.default_rng(1).normal(0, 0.02, len(D))
    found = peak_of_run(D, on(FittedCurve(RL, 0.5, 0.3, 0.3)) + noise)
    assert found.has_turned and found.low < 1.0 < found.high  # exp(0.3 / 0.3 - 1) = 1
    assert found.high - found.low < 1.0
    assert found.curve.peak == pytest.approx(1.0, abs=0.3)


def test_a_run_that_still_rises_has_none_yet():
    noise = np.random.default_rng(1).normal(0, 0.02, len(D))
    found = peak_of_run(D, 0.5 + 0.1 * D + noise)
    assert not found.has_turned
    early = D < 0.6  # before the peak at 1 there is nothing to see of it
    assert not peak_of_run(D[early], (on(FittedCurve(RL, 0.5, 0.3, 0.3)) + noise)[early]).has_turned


def test_too_few_updates_say_nothing():
    assert peak_of_run(D[:7], D[:7]) is None


def test_best_of_n_is_drawn_again_by_prompts():
    d = np.sqrt([0.0, 0.193, 0.636, 1.204, 1.835, 2.497, 3.175])
    rows = on(FittedCurve(BEST_OF_N, 0.5, 0.4, 0.2), d) + np.linspace(-0.2, 0.2, 20)[:, None]
    found = peak_of_best_of_n(d, rows)
    assert found.has_turned and found.curve.peak == pytest.approx(1.0)
    assert (found.low, found.high) == pytest.approx((1.0, 1.0))  # prompts differ in height alone

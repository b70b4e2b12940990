"""The frontier's numbers, by hand."""

import math

import pytest

from workbench.analysis.best_of_n import Level
from workbench.analysis.frontier import (
    Measured,
    Moment,
    Tried,
    at_nats,
    at_seconds,
    best_price,
    between,
    over_seeds,
    told_apart,
)


def run(kl, gold, *, price=0.1, seed=0, heldout=0.0, way=()):
    reached = Measured(kl, 0.0, heldout, gold)
    return Tried("ppo", price, seed, 1e-3, 64, 10.0, reached, [*way], f"ppo-{price}-{seed}")


START = Measured(0.0, 0.0, 0.0, 0.5)


def test_the_interval_is_students():
    level = over_seeds([1.0, 2.0, 3.0, 4.0])
    half = 3.182446 * math.sqrt(5 / 3) / 2  # t at 97.5 % of 3 degrees of freedom
    assert level == pytest.approx((2.5, 2.5 - half, 2.5 + half), abs=1e-5)
    assert over_seeds([2.0]) == (2.0, None, None)


def test_between_points_a_line_is_read_and_beyond_them_nothing():
    points = [(2.0, 0.9), (0.0, 0.5)]
    assert between(points, 1.0) == pytest.approx(0.7)
    assert between(points, 2.0) == pytest.approx(0.9)
    assert between(points, 2.01) is None


def test_at_so_many_nats_each_seed_is_read_on_its_own_line():
    runs = [run(1.0, 0.7), run(4.0, 0.9, price=0.05), run(4.0, 0.7, seed=1)]
    found = at_nats(runs, {0: START, 1: START}, "gold", 1.0)
    assert found is not None and found.mean == pytest.approx((0.7 + 0.6) / 2)
    found = at_nats(runs, {0: START, 1: START}, "gold", 2.25)  # √ is 1.5
    assert found is not None and found.mean == pytest.approx((0.8 + 0.65) / 2)
    runs.append(run(1.0, 0.7, seed=2))  # which did not come so far
    assert at_nats(runs, dict.fromkeys((0, 1, 2), START), "gold", 2.0) is None


def test_at_so_many_seconds():
    way = [Moment(0, 0.0, 0.0, 0.5), Moment(4, 10.0, 1.0, 0.7)]
    found = at_seconds([run(1.0, 0.7, way=way)], "gold", 5.0)
    assert found is not None and found.mean == pytest.approx(0.6)
    assert at_seconds([run(1.0, 0.7, way=way)], "gold", 11.0) is None


def test_the_price_is_chosen_by_the_watching_model_not_by_gold():
    runs = [run(1.0, 0.9, heldout=0.1), run(2.0, 0.5, price=0.05, heldout=0.4)]
    runs += [run(1.0, 0.9, heldout=0.2, seed=1), run(2.0, 0.5, price=0.05, heldout=0.0, seed=1)]
    assert best_price(runs) == 0.05  # 0.2 beside 0.15


def test_two_means_are_apart_where_their_intervals_do_not_hide_it():
    one = Level(0.8, 0.77, 0.83)
    assert told_apart(one, Level(0.74, 0.70, 0.78))  # 0.06 beside √(0.03² + 0.04²) = 0.05
    assert not told_apart(one, Level(0.76, 0.72, 0.80))
    assert not told_apart(one, Level(0.1, None, None))

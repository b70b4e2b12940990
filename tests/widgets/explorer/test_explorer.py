import math

import pytest

from workbench.errors import DataError
from workbench.widgets.explorer.explorer import LossExplorer, comparison_loss


@pytest.fixture
def explorer():
    return LossExplorer()


def test_it_starts_with_the_lectures_two_rows(explorer):
    first, second = explorer.rows
    assert explorer.frame.to_dict("records") == [first, second]
    assert (first["r1"], first["r2"], second["r1"], second["r2"]) == (0, 10, 5, 0)
    # the lecture's base-10 figures, exact: 4.343 and 0.0029; training's: 10.000 and 0.0067
    assert first["loss"] == pytest.approx(10.0000454, abs=1e-7)
    assert first["loss_base10"] == pytest.approx(4.34296, abs=1e-5)
    assert second["loss"] == pytest.approx(0.0067153, abs=1e-7)
    assert second["loss_base10"] == pytest.approx(0.0029164, abs=1e-7)
    assert first["sigma"] == pytest.approx(4.5397868e-05)
    # the lecture's 4.39 is of a sigma cut to 0.00004
    assert -math.log10(0.00004) == pytest.approx(4.398, abs=1e-3)


def test_equal_scores_cost_ln_2():
    found = comparison_loss(3.0, 3.0)
    assert (found.difference, found.sigma) == (0.0, 0.5)
    assert found.loss == pytest.approx(0.6931471805599453, abs=1e-15)


@pytest.mark.parametrize(("r1", "r2"), [(0.0, 800.0), (-1e5, 1e5)])
def test_a_large_wrong_difference_costs_itself(r1, r2):
    found = comparison_loss(r1, r2)
    assert found.loss == r2 - r1
    assert found.sigma >= 0.0


def test_a_large_right_difference_costs_almost_nothing_but_not_nothing():
    assert comparison_loss(40.0, 0.0).loss == pytest.approx(4.248354255291589e-18)
    assert comparison_loss(1e5, 0.0).loss == 0.0  # below the smallest number there is


def test_sigmas_of_both_ways_add_up_to_1():
    assert comparison_loss(2.0, 5.0).sigma + comparison_loss(5.0, 2.0).sigma == pytest.approx(1.0)


def test_rows_are_added_and_removed_by_the_page_and_read_back(explorer):
    explorer.set_state({"kept": [[0, 10], [5, 0], [1.5, -2]]})  # as a page sends it
    assert explorer.rows[-1]["difference"] == 3.5
    explorer.set_state({"kept": [[5, 0], [1.5, -2]]})
    assert [row["r1"] for row in explorer.rows] == [5.0, 1.5]
    explorer.remove_row(0)
    explorer.remove_row(99)
    assert [row["r1"] for row in explorer.rows] == [1.5]


def test_the_sliders_place_reads_back(explorer):
    assert (explorer.current.r1, explorer.current.r2) == (0.0, 10.0)
    explorer.r1 = 10.0
    assert explorer.current.difference == 0.0


@pytest.mark.parametrize("score", [math.nan, math.inf, 1e9])
def test_a_score_that_is_no_number_is_refused(explorer, score):
    with pytest.raises(DataError, match="not a finite number"):
        explorer.add_row(score, 0.0)
    assert len(explorer.rows) == 2


def test_a_place_without_widgets_shows_the_table(explorer):
    data = explorer._repr_mimebundle_()[0]
    assert "<td>4.34296</td>" in data["text/html"] and "text/plain" in data


def test_a_runs_held_out_pairs_lie_on_the_curve_as_they_were_judged_last():
    pair = {"prompt": "p", "chosen": "good", "rejected": "bad"}
    samples = [
        {"step": 10, **pair, "chosen_score": 0.0, "rejected_score": 0.0},
        {"step": 20, **pair, "chosen_score": 1.5, "rejected_score": -0.5},
        {"step": 20, **pair, "chosen_score": -1.0, "rejected_score": 1.0},
    ]
    explorer = LossExplorer("mine", samples)
    assert [(one["r1"], one["r2"]) for one in explorer.pairs] == [(1.5, -0.5), (-1.0, 1.0)]
    assert explorer.pairs[0] == {"r1": 1.5, "r2": -0.5, **pair}
    assert explorer.run == "mine" and explorer.current.difference == 2.0
    assert len(explorer.rows) == 2  # the lecture's stay


def test_two_on_one_page_are_told_apart():
    assert LossExplorer().mark != LossExplorer().mark  # where the page loads their module once

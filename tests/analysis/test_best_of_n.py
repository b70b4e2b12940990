"""Best of n against all subsets, counted one by one."""

from itertools import combinations

import numpy as np
import pytest

from workbench.analysis.best_of_n import best_of, chances, kl_bound, level


def test_the_bound_is_that_of_the_papers():
    """Nats for 2, 4, 16 and 64 answers, worked with a pocket calculator."""
    assert kl_bound(1) == 0.0
    found = [kl_bound(n) for n in (2, 4, 16, 64)]
    assert found == pytest.approx([0.193147, 0.636294, 1.835089, 3.174508], abs=1e-6)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_chances_are_those_of_all_subsets(n):
    subsets = list(combinations(range(5), n))
    counted = [sum(max(subset) == place for subset in subsets) for place in range(5)]
    assert chances(5, n) == pytest.approx(np.array(counted) / len(subsets))


@pytest.mark.parametrize("scores", [[3.0, 1.0, 2.0, 5.0, 4.0], [1.0, 1.0, 2.0, 2.0, 0.0]])
def test_the_best_of_n_is_the_mean_over_all_subsets(scores):
    """Equal scores are kept by lot."""
    measured = [10.0, 20.0, 30.0, 40.0, 50.0]
    found = best_of(np.array([scores]), np.array([measured]), [1, 2, 3, 5])
    for column, n in enumerate([1, 2, 3, 5]):
        kept = []
        for subset in combinations(range(5), n):
            top = max(scores[i] for i in subset)
            kept.append(np.mean([measured[i] for i in subset if scores[i] == top]))
        assert found[0, column] == pytest.approx(np.mean(kept))


def test_each_prompt_is_judged_by_its_own_answers():
    scores = np.array([[0.0, 1.0], [1.0, 0.0]])
    assert best_of(scores, scores, [1, 2]).tolist() == [[0.5, 1.0], [0.5, 1.0]]


def test_the_interval_is_over_prompts():
    """Values 0 and 2: the standard error of the mean is 1."""
    found = level(np.array([0.0, 2.0]))
    assert (found.mean, found.low, found.high) == pytest.approx((1.0, -0.96, 2.96))
    assert level(np.array([1.5])) == (1.5, None, None)

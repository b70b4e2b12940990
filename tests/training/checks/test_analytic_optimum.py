"""The whole of PPO against what can be worked out: where every answer can be counted.

With a KL charge of beta the best policy is ref(y) exp(r(y) / beta) / Z, worth beta log Z
(Ziegler et al. 2019, section 2). Answers of at most two tokens from eight are 57 in all.
"""

import math

import pytest

from workbench.training.checks import analytic_optimum
from workbench.training.checks.analytic_optimum import ANSWERS, SETTINGS, Countable


def test_the_answers_are_all_there_are(tmp_path):
    made = Countable(SETTINGS, tmp_path)
    assert len(ANSWERS) == 1 + 7 * 8
    assert float(made.log_probabilities(None).exp().sum()) == pytest.approx(1.0, abs=1e-5)
    # before the first update the policy is the reference
    assert made.log_probabilities("policy").tolist() == made.log_probabilities(None).tolist()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return analytic_optimum.compare(SETTINGS, tmp_path_factory.mktemp("optimum"))


def test_the_optimum_is_the_reference_weighted_by_the_rewards(found):
    """Worked out here from the table alone, by its definition."""
    weights = [row.reference * math.exp(row.reward / 0.5) for row in found.answers]
    total = sum(weights)
    assert [row.optimum for row in found.answers] == pytest.approx([w / total for w in weights])
    assert found.best == pytest.approx(0.5 * math.log(total))
    # and no other policy is worth more: what it is worth, from its own probabilities
    worth = sum(
        row.optimum * (row.reward - 0.5 * math.log(row.optimum / row.reference))
        for row in found.answers
    )
    assert worth == pytest.approx(found.best)


def test_ppo_comes_to_the_optimum(found):
    assert found.best > found.worth[0] + 0.5  # there is something to learn
    assert (found.worth[-1] - found.worth[0]) / (found.best - found.worth[0]) > 0.95
    assert len(found.worth) == 1 + SETTINGS.steps
    assert max(found.worth) <= found.best + 1e-6


def test_the_reported_kl_is_that_of_all_answers_but_for_the_luck_of_the_draw(found):
    exact = sum(row.ppo * math.log(row.ppo / row.reference) for row in found.answers)
    assert found.kl == pytest.approx(exact, abs=1e-5)
    assert exact > 0.2
    assert abs(found.reported - exact) < 4 * found.error
    assert sum(row.ppo for row in found.answers) == pytest.approx(1.0, abs=1e-5)

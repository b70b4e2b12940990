"""Each method against what can be worked out: where every answer can be counted.

With a KL charge of beta the best policy is ref(y) exp(r(y) / beta) / Z, worth beta log Z
(Ziegler et al. 2019, section 2). Answers of at most two tokens from eight are 57 in all.
"""

import math

import pytest
import torch

from workbench.models.encoding import Encoded
from workbench.training.checks import analytic_optimum
from workbench.training.checks.analytic_optimum import (
    ANSWERS,
    METHODS,
    SETTINGS,
    CountablePPO,
    TableReward,
)


def test_the_answers_are_all_there_are(tmp_path):
    made = CountablePPO(SETTINGS, tmp_path)
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


def share_of(found):
    return (found.worth[-1] - found.worth[0]) / (found.best - found.worth[0])


def test_the_optimum_is_reached(found):
    assert found.best > found.worth[0] + 0.5  # there is something to learn
    assert share_of(found) > 0.95
    assert len(found.worth) == 1 + SETTINGS.steps
    assert max(found.worth) <= found.best + 1e-6
    assert {row.seen for row in found.answers} == {None}


OTHERS = {"rloo": 0.95, "group": 0.95, "online_dpo": 0.9}


@pytest.mark.parametrize("method", OTHERS)
def test_other_methods_come_as_near(method, tmp_path):
    assert share_of(analytic_optimum.compare(METHODS[method], tmp_path)) > OTHERS[method]


def test_pairs_drawn_before_show_less(tmp_path):
    """The same optimum; what the pairs hardly ever hold stays below its probability there."""
    found = analytic_optimum.compare(METHODS["dpo"], tmp_path)
    assert 0.3 < share_of(found) < 0.95
    pairs = sum(row.seen for row in found.answers) / 2
    assert 0 < pairs <= analytic_optimum.PAIRS
    often = max(found.answers, key=lambda row: row.reference)
    assert often.seen == max(row.seen for row in found.answers)


def test_the_noise_on_two_scores_gives_bradley_and_terrys_chance():
    rewards = torch.zeros(len(ANSWERS))
    rewards[1] = 1.0
    table = TableReward(rewards, torch.Generator().manual_seed(0))
    rows = [Encoded([2], ANSWERS[n]) for _ in range(20_000) for n in (1, 0)]
    scores = table.scores(table.read(rows, []), tokens=0).total.reshape(-1, 2)
    wins = float((scores[:, 0] > scores[:, 1]).double().mean())
    assert wins == pytest.approx(1 / (1 + math.exp(-1.0)), abs=4 * (0.2 / 20_000) ** 0.5)


def test_the_reported_kl_is_that_of_all_answers_but_for_the_luck_of_the_draw(found):
    exact = sum(row.policy * math.log(row.policy / row.reference) for row in found.answers)
    assert found.kl == pytest.approx(exact, abs=1e-5)
    assert exact > 0.2
    assert abs(found.reported - exact) < 4 * found.error
    assert sum(row.policy for row in found.answers) == pytest.approx(1.0, abs=1e-5)

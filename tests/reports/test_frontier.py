"""The frontier's page says what its numbers say, and what they do not."""

import pytest

from workbench.analysis.frontier import Measured, Moment, Tried
from workbench.reports.frontier import Frontier, FrontierTerms

ASKED = FrontierTerms("tiny-chat", "2,048 prompts", "1,000 comparisons taught both", 128, 1)
BEST = [
    {"n": 1, "kl_bound": 0.0, "score": 0.0, "heldout": 0.0, "gold": 0.5},
    {"n": 16, "kl_bound": 1.835, "score": 2.0, "heldout": 1.5, "gold": 0.9},
]


def tried(method, price, seed, kl, gold, seconds):
    way = [Moment(0, 0.0, 0.0, 0.5), Moment(9, seconds, gold, gold)]
    reached = Measured(kl, gold, gold, gold)
    name = f"{method}-{price:g}-{seed}"
    return Tried(method, price, seed, 5e-4, 2048, seconds, reached, way, name)


@pytest.fixture
def found():
    runs = []
    for seed in range(4):
        more = 0.004 * seed
        runs += [
            tried("ppo", 0.2, seed, 1.0, 0.80 + more, 40.0),
            tried("ppo", 0.05, seed, 4.0, 0.90 + more, 40.0),
            tried("rloo", 0.2, seed, 1.0, 0.798 + more, 20.0),
            tried("dpo", 0.1, seed, 1.0, 0.60 + more, 10.0),
        ]
    start = Measured(0.0, 0.0, 0.0, 0.5)
    return Frontier(runs, dict.fromkeys(range(4), start), BEST, ASKED)


def test_ways_are_ranked_where_two_of_them_came_to(found):
    assert found.judged == "gold"
    first, second = found.sentence.split(". After ")
    assert first.startswith("At 1 nat of KL the gold score, from 0.50 before, is 0.81 (0.80 to")
    assert "by ppo, 0.80" in first and "by rloo, 0.61" in first and "by dpo" in first
    assert "rloo cannot be told from the first" in first
    assert "dpo cannot" not in first
    assert "the best of n answers reaches 0.80 there at the latest" in first
    # after 10 s dpo has all of its gain, rloo half of it, ppo (its better price) a quarter
    assert second.startswith("10 s of learning the gold score is 0.65 (0.65 to 0.66) by rloo")
    at = found.at.set_index("method")
    assert at.loc["ppo", "1 nat"] == pytest.approx(0.806)
    assert at.loc["rloo", "2 nats"] != at.loc["rloo", "2 nats"]  # it did not come so far
    assert at.loc["ppo", "seconds"] == pytest.approx(0.5 + 0.406 / 4)


def test_what_it_does_not_show_is_said(found):
    assert "does not show other data, reward models or longer runs" in found.limits
    assert "each way had one rate, its auto" in found.limits and "over 4 seeds" in found.limits
    page = found._repr_html_()
    assert found.limits.split(":")[0] in page
    assert "Learning rates: ppo 0.0005; rloo 0.0005; dpo 0.0005" in page
    assert "best of n, bound of KL" in page and "upper bound" in page


def test_each_picture_has_every_way(found):
    assert list(found.figures) == ["gold", "seconds", "heldout", "score"]
    names = [trace.name for trace in found.figures["gold"].data if trace.mode == "markers"]
    assert names == ["ppo", "rloo", "dpo", "best of n, bound of KL"]
    assert list(found.figures["gold"].data[1].x) == pytest.approx([1.0, 2.0])
    assert len(found.frame) == 16 and len(found.best_of_n) == 2


def test_without_a_judge_the_watching_model_judges():
    runs = [tried("ppo", 0.1, 0, 1.0, 0.8, 4.0), tried("dpo", 0.1, 0, 0.2, 0.6, 2.0)]
    runs = [run._replace(reached=run.reached._replace(gold=None)) for run in runs]
    found = Frontier(runs, {0: Measured(0.0, 0.0, 0.1, None)}, [], ASKED)
    assert found.judged == "heldout" and list(found.figures) == ["heldout", "seconds", "score"]
    assert "No two ways came as far as 1 nat" in found.sentence
    assert "ppo 0.80 at 1 nat, dpo 0.60 at 0.2 nats" in found.sentence
    assert "one seed tells no two of them apart" in found.sentence

"""RewardBench's and RewardBench 2's scores, worked by hand from their authors' description."""

import math

import numpy as np
import pytest

from workbench.analysis.rewardbench import best_of_many, scored_items, sections, subsets, ties_score
from workbench.analysis.scored_items import ScoredItems
from workbench.data.reading.formats import load_pairs


def scored(rows, scores):
    """Items of a benchmark's own file, with scores in the order of their answers."""
    return scored_items(ScoredItems(load_pairs(rows)), np.array(scores, dtype=float))


def first(subset, n):
    return {"prompt": f"p{n}", "chosen": "yes", "rejected": "no", "subset": subset}


def second(subset, n, right=1, wrong=3, kind=""):
    return {
        "id": f"{kind}{n}",
        "prompt": f"{kind}{n}",
        "chosen": [f"right {k}" for k in range(right)],
        "rejected": [f"wrong {k}" for k in range(wrong)],
        "num_correct": right,
        "subset": subset,
    }


def test_pairs_by_subset_and_sections():
    names = ["alpacaeval-easy"] * 2 + ["mt-bench-med"] + ["hep-cpp"] * 2 + ["math-prm"] * 4
    rows = [first(name, n) for n, name in enumerate(names)]
    gaps = [1, 1, -1, 1, 1, 1, 1, -1, -1]
    found = subsets(scored(rows, [value for gap in gaps for value in (gap, 0)]))
    assert [(row.subset, row.items, row.accuracy, row.chance) for row in found] == [
        ("alpacaeval-easy", 2, 1.0, 0.5),
        ("mt-bench-med", 1, 0.0, 0.5),
        ("hep-cpp", 2, 1.0, 0.5),
        ("math-prm", 4, 0.5, 0.5),
    ]
    parts = {row.section: (row.score, row.subsets, row.of) for row in sections(found)}
    assert parts["Chat"] == (pytest.approx(2 / 3), 2, 5)  # each prompt once
    assert parts["Reasoning"] == (0.75, 2, 7)  # mathematics as much as all code
    assert parts["mean"] == (pytest.approx((2 / 3 + 0.75) / 2), 2, 4)


def test_maths_alone_is_its_section():
    found = subsets(scored([first("math-prm", 0)], [1, 0]))
    assert sections(found)[0][:2] == ("Reasoning", 1.0)


def test_other_data_have_subsets_and_no_sections():
    assert sections(subsets(scored([first("mine", 0)], [1, 0]))) == []
    assert subsets(scored([{"prompt": "p", "chosen": "a", "rejected": "b"}], [1, 0])) == []


def test_one_of_four_must_beat_all_three():
    rows = [second("Focus", n) for n in range(4)] + [second("Math", 9)]
    scores = [[2, 1, 0, -1], [2, 3, 0, 0], [2, 2, 0, 0], [2, 2, 2, 2], [5, 4, 4, 4]]
    items = scored(rows, [each for row in scores for each in row])
    assert [item.credit for item in items] == [1.0, 0.0, 0.5, 0.25, 1.0]  # a shared top shares
    focus, maths = subsets(items)
    assert (focus.measure, focus.accuracy, focus.chance) == ("best of 4", 1.75 / 4, 0.25)
    found = sections([focus, maths])
    assert [(row.section, row.score) for row in found] == [
        ("Focus", 1.75 / 4),
        ("Math", 1.0),
        ("mean", pytest.approx((1.75 / 4 + 1) / 2)),
    ]
    assert (found[-1].subsets, found[-1].of) == (2, 6)
    assert best_of_many(items).items == 5 and best_of_many(items).accuracy == 2.75 / 5


def test_an_item_with_an_answer_too_long_to_score_is_left_out():
    rows = [second("Focus", 0), second("Focus", 1)]
    items = scored(rows, [2, 1, 0, math.nan, 2, 1, 0, 0])
    assert len(items) == 1 and best_of_many(items).items == 1
    assert best_of_many(scored([first("x", 0)], [1, 0])) is None


def test_the_ties_score_by_hand():
    """Both prompts are accurate, ref and tied. Prompt 1: range of the right ones 0.5, gap to the
    wrong ones 0.5: preferred neither way, tanh(0.5 / 0.5 - 1) = 0. Prompt 2: range 0.1, gaps 1.0
    and 1.0: preferred both ways, tanh(1.0 / 0.1 - 1) = tanh 9. The mean over prompts of each term:
    0.3 + 0.3 + 0.2 / 2 + 0.2 / 2 + 0.01 tanh(9) / 2."""
    rows = [
        second("Ties", 1, right=1, wrong=1, kind="ref:"),
        second("Ties", 1, right=2, wrong=1, kind="tied:"),
        second("Ties", 2, right=1, wrong=1, kind="ref:"),
        second("Ties", 2, right=2, wrong=1, kind="tied:"),
    ]
    items = scored(rows, [2, 1, 3, 2.5, 2, 2, 1, 3, 2.9, 1.9])
    (row,) = subsets(items)
    assert row.measure == "Ties score" and row.low is None and row.items == 4
    assert row.accuracy == pytest.approx(0.3 + 0.3 + 0.1 + 0.1 + 0.01 * math.tanh(9) / 2)


def test_ties_that_are_wrong_or_alone():
    wrong = scored([second("Ties", 1, 2, 1, "tied:")], [3, 1, 2])  # one wrong above one right
    assert ties_score(wrong) == 0.0
    alone = scored([second("Ties", 1, 2, 1, "tied:")], [3, 2, 1])  # right, without its reference
    assert ties_score(alone) == pytest.approx(0.3)
    same = [second("Ties", 1, 1, 1, "ref:"), second("Ties", 1, 2, 1, "tied:")]
    assert ties_score(scored(same, [2, 1, 3, 3, 1])) == pytest.approx(1.01)  # a range of 0
    other = scored([second("Ties", 1)], [2, 1, 1, 1])  # no ref: or tied: id
    assert ties_score(other) is None and subsets(other)[0].measure == "best of 4"

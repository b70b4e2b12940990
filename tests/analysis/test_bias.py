"""Length and looks: every count made by hand."""

import itertools

import pytest

from workbench.analysis.bias import FEATURES, Bias
from workbench.data.pairs import Pair


def taken(*items):
    bias = Bias()
    for label, *answers in items:
        told = {"kind": "choice", "winner": label} if isinstance(label, int) else label
        bias.add(
            Pair.make(
                [{"role": "user", "content": "p"}],
                [[{"role": "assistant", "content": answer}] for answer in answers],
                label=told,
            )
        )
    return bias


def test_longer_wins_counts_unequal_lengths_alone():
    bias = taken(
        (0, "long", "s"), (1, "s", "long"), (0, "s", "long"), (0, "ab", "cd"), (None, "a", "b")
    )
    assert bias.longer_wins()[0] == pytest.approx(2 / 3) and bias.longer_wins().of == 3
    assert bias.compared == 4


def test_an_item_of_many_answers_counts_once():
    ranked = {"kind": "rank", "ranks": [1, 2, 3]}  # three pairs: longer, longer, shorter wins
    bias = taken((ranked, "bbb", "a", "cc"))
    assert bias.longer_wins().of == 1
    assert bias.longer_wins().value == pytest.approx(2 / 3)


def test_deciles_hold_as_many_comparisons_each():
    items = [(0, "x" * (n + 1) + "y", "y") for n in range(50)]  # gaps 1 to 50, the longer wins
    items += [(1, "x" * (n + 1) + "y", "y") for n in range(45, 50)]  # the largest also lose
    rows = taken(*items).deciles()
    assert [row.decile for row in rows] == list(range(1, 11))
    assert sum(row.comparisons for row in rows) == 55
    assert {row.rate for row in rows[:8]} == {1.0}
    assert rows[-1].gap_to == 50 and rows[-1].rate == pytest.approx(0.5)
    assert all(one.gap_to < two.gap_from for one, two in itertools.pairwise(rows))
    assert rows[0].low < 1.0 == pytest.approx(rows[0].high)


def test_equal_gaps_are_one_row_and_no_gap_is_none():
    rows = taken(*[(0, "ab", "c")] * 30).deciles()
    assert [(row.gap_from, row.gap_to, row.comparisons) for row in rows] == [(1, 1, 30)]
    assert taken((0, "ab", "cd")).deciles() == []
    assert taken().longer_wins() == (None, None, None, 0)


def test_a_feature_is_judged_where_one_answer_alone_has_it():
    bias = taken(
        (0, "- a\n- b", "text"),
        (1, "1. a", "text"),
        (0, "- a", "* b"),
        (0, "a - b", "c"),
    )
    row = {row.feature: row for row in bias.features()}["bullets or numbers"]
    assert (row.comparisons, row.won, row.rate) == (2, 1, 0.5)
    assert (row.in_chosen, row.in_rejected) == (2 / 4, 2 / 4)
    assert {row.feature: row.rate for row in bias.features()}["headers"] is None


@pytest.mark.parametrize(
    ("feature", "yes", "no"),
    [
        ("bullets or numbers", ["a\n  2) b", "• x"], ["2.5 m", "-5", "a * b"]),
        ("headers", ["# A", "x\n### B"], ["#tag", "a # b"]),
        ("bold", ["a **b**"], ["a * b"]),
        ("code", ["```\nx"], ["`x`"]),
        (
            "begins with Sure",
            ["Sure, here", " of course!", "GREAT QUESTION."],
            ["Surely not", "Am sure"],
        ),
        (
            "begins with Sorry",
            ["I'm sorry, but", "I can’t do", "I cannot"],
            ["I can do", "so sorry"],
        ),
        ("exclaims", ["hey!"], ["hey."]),
        ("ends by asking", ["right? \n"], ["right?no"]),
    ],
)
def test_features_are_told_by_these_marks(feature, yes, no):
    assert all(FEATURES[feature](text) for text in yes)
    assert not any(FEATURES[feature](text) for text in no)


def test_only_what_the_assistant_says_has_a_length():
    bias = Bias()
    talk = [
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "# a very long question?"},
        {"role": "assistant", "content": "b"},
    ]
    bias.add(
        Pair.make(
            [{"role": "user", "content": "p"}],
            [talk, [{"role": "assistant", "content": "longer answer"}]],
            label={"kind": "choice", "winner": 1},
        )
    )
    assert bias.longer_wins().value == 1.0
    assert {row.feature: row.comparisons for row in bias.features()}["headers"] == 0

"""From a label over several responses to comparisons of two: every case worked by hand."""

import pytest

from workbench.data.comparisons import comparisons, is_tie
from workbench.data.pairs import Pair, Pairs, choice_rows, render
from workbench.errors import ConfigError, DataError

RANKED = {"kind": "rank", "ranks": [2, 1, None, 2, 3]}  # 1 > 0 = 3 > 4, and 2 was left out
SCORED = {"kind": "scores", "scores": [0.5, None, 2, 0.5, float("nan")]}


@pytest.mark.parametrize(
    ("label", "k_way", "expected"),
    [
        (RANKED, "all", [(1, 0), (1, 3), (1, 4), (0, 4), (3, 4)]),
        (RANKED, "best-worst", [(1, 4)]),
        (RANKED, "adjacent", [(1, 0), (1, 3), (0, 4), (3, 4)]),
        (SCORED, "all", [(2, 0), (2, 3)]),
        ({"kind": "choice", "winner": 3}, "all", [(3, 0), (3, 1), (3, 2), (3, 4)]),
        ({"kind": "choice", "winner": 3}, "adjacent", [(3, 0), (3, 1), (3, 2), (3, 4)]),
        ({"kind": "choice", "winner": 3}, "best-worst", [(3, 0), (3, 1), (3, 2), (3, 4)]),
        ({"kind": "rank", "ranks": [1, 1, 1, 1, 1]}, "all", []),
        ({"kind": "rank", "ranks": [None] * 5}, "best-worst", []),
        ({"kind": "tie"}, "all", []),
        ({"kind": "both_bad"}, "adjacent", []),
        (None, "all", []),
    ],
)
def test_a_label_gives_these_pairs_and_no_tie(label, k_way, expected):
    assert comparisons(label, 5, k_way) == expected


def test_all_equal_is_a_tie_and_no_label_is_none():
    assert is_tie({"kind": "rank", "ranks": [1, 1]}, 2) and is_tie({"kind": "both_bad"}, 2)
    assert not is_tie({"kind": "scores", "scores": [1, 2]}, 2) and not is_tie(None, 2)


@pytest.mark.parametrize(
    "label",
    [
        {"kind": "choice", "winner": 2},
        {"kind": "choice"},
        {"kind": "rank", "ranks": [1]},
        {"kind": "rank", "ranks": ["a", "b"]},
        {"kind": "scores"},
        {"kind": "other"},
    ],
)
def test_a_label_that_does_not_fit_is_refused(label):
    with pytest.raises(DataError, match="the label does not fit its item") as caught:
        comparisons(label, 2)
    assert "2 responses" in caught.value.where


def test_an_unknown_way_is_refused_even_where_there_is_no_label():
    with pytest.raises(ConfigError, match="k_way cannot be 'some'") as caught:
        comparisons(None, 2, "some")
    assert "best-worst" in caught.value.fix


def item(label, *answers):
    return Pair.make(
        [{"role": "user", "content": "p"}],
        [[{"role": "assistant", "content": answer}] for answer in answers],
        label=label,
    )


def test_the_rows_of_an_item_weigh_one_together():
    pair = item({"kind": "rank", "ranks": [1, 2, 3]}, "a", "b", "c")
    rows = choice_rows(pair)
    said = [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in rows]
    assert said == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [row["weight"] for row in rows] == [1 / 3] * 3
    assert {row["margin"] for row in rows} == {None}
    pairs = Pairs.from_items([pair, item({"kind": "choice", "winner": 1}, "x", "y")])
    assert [row["weight"] for row in pairs.training_rows("best-worst")] == [1, 1]
    assert len(pairs.training_rows(k_way="adjacent")) == 3
    # a ranking is no tie: nothing is missing from what is imported
    assert (pairs.report.imported, pairs.report.ties) == (2, 0)


def test_a_tie_gives_no_row_or_one_for_each_order():
    tie = item({"kind": "tie", "margin": 2}, "a", "b", "c")
    assert choice_rows(tie) == []
    rows = choice_rows(tie, ties="half")
    orders = {(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in rows}
    assert orders == {(a, b) for a in "abc" for b in "abc" if a != b}
    assert {(row["margin"], row["weight"]) for row in rows} == {(None, 1 / 6)}
    assert choice_rows(item(None, "a", "b"), ties="half") == []


def test_an_unknown_policy_for_ties_is_refused():
    with pytest.raises(ConfigError, match="ties cannot be 'both'") as caught:
        Pairs.from_items([item(None, "a", "b")]).training_rows(ties="both")
    assert "drop, half" in caught.value.fix


def test_ranks_and_scores_are_rendered_beside_their_answers():
    assert render(item({"kind": "rank", "ranks": [2, 1, None]}, "a", "b", "c")) == {
        "prompt": "p",
        "rank 2": "a",
        "rank 1": "b",
        "unranked": "c",
    }
    assert list(render(item({"kind": "scores", "scores": [0.5, None]}, "a", "b"))) == [
        "prompt",
        "score 0.5",
        "no score",
    ]

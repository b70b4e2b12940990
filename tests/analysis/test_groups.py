import numpy as np
import pytest

from workbench.analysis.groups import (
    annotator_of,
    correlations,
    gap_rows,
    group_rows,
    pearson,
    ranks,
    source_of,
    spearman,
    subset_of,
)
from workbench.analysis.scored_items import ItemRows

from ..data.made_items import item


def test_correlations_by_hand():
    a, b = np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])
    assert pearson(a, b) == pytest.approx(0.5) and spearman(a, b) == pytest.approx(0.5)
    assert spearman(a, np.exp(9 * a)) == pytest.approx(1.0)
    assert pearson(a, np.exp(9 * a)) < 0.9
    assert pearson(a, np.ones(3)) is None and spearman(np.ones(3), a) is None
    assert ranks(np.array([10.0, 20.0, 20.0, 5.0])).tolist() == [2.0, 3.5, 3.5, 1.0]


def test_correlations_are_resampled_by_items():
    rng = np.random.default_rng(0)
    lengths = np.repeat(rng.normal(0, 1, 200), 2)  # both answers of an item alike
    scores = lengths + rng.normal(0, 1, 400)
    by_item, *_ = correlations(scores, lengths, ItemRows(np.repeat(np.arange(200), 2)))
    by_row, *_ = correlations(scores, lengths, ItemRows(np.arange(400)))
    assert by_item.measure == "Pearson" and by_item.value == by_row.value
    assert by_item.low < by_item.value < by_item.high
    assert by_item.high - by_item.low != by_row.high - by_row.low


def test_groups_come_largest_first_with_what_the_model_thought_of_itself():
    margins = np.array([1.0, -1.0, 1.0, 0.0])
    sure, weight = np.array([0.9, 0.7, 0.8, 0.5]), np.ones(4)
    rows = group_rows(["b", "a", "b", None], margins, sure, weight)
    assert [(r.group, r.comparisons, r.accuracy) for r in rows] == [("b", 2, 1.0), ("a", 1, 0.0)]
    assert rows[0].confidence == pytest.approx(0.85)


def test_equal_length_gaps_stay_together():
    gaps = np.array([-5.0] * 3 + [0.0] * 30 + [7.0] * 3)
    margins = np.where(gaps < 0, -1.0, 1.0)
    rows = gap_rows(gaps, margins, np.ones(36))
    assert [(r.gap_from, r.gap_to, r.comparisons) for r in rows] == [(-5, 0, 33), (7, 7, 3)]
    assert rows[0].accuracy == pytest.approx(30 / 33)
    ten = gap_rows(np.arange(-50.0, 50.0), np.ones(100), np.ones(100))
    assert [row.comparisons for row in ten] == [10] * 10
    assert (ten[0].gap_from, ten[0].gap_to) == (-50, -41)
    assert gap_rows(np.array([]), np.array([]), np.array([])) == []


def test_names_come_from_the_row_before_the_file():
    pair = item("p", ["a", "b"], source={"file": "x.jsonl"})
    assert (source_of(pair), annotator_of(pair), subset_of(pair)) == ("x.jsonl", None, None)
    pair = item("p", ["a", "b"], source={"file": "x", "dataset": "hh"}, said={"annotator": "ada"})
    assert (source_of(pair), annotator_of(pair)) == ("hh", "ada")
    pair = item("p", ["a", "b"], meta={"source": "math", "annotator": "bob", "subset": "Focus"})
    assert (source_of(pair), annotator_of(pair), subset_of(pair)) == ("math", "bob", "Focus")

import math

import numpy as np
import pytest

from workbench.analysis.appraisal import appraise
from workbench.analysis.relabel import relabelled
from workbench.analysis.scored_items import ScoredItems
from workbench.data.labelling.session import LabelSession
from workbench.data.pairs import Pairs
from workbench.data.store.labels import LabelStore
from workbench.errors import DataError

from ..data.made_items import item, ranks

FOUR = [
    item("p", ["aaa", "b"]),
    item("q", ["b", "aaa"]),
    item("r", ["c", "d"]),
    item("s", ["ee", "f"]),
]
NAN = math.nan


def test_accuracy_beside_the_longer_and_the_judge():
    """Margins 1, -1, 0, 1 and lengths longer, shorter, equal, longer: 2.5 of 4 each."""
    found = appraise(ScoredItems(FOUR), [2, 1, 1, 2, 3, 3, 1, 0], gold=[1, 0, 1, 0, 1, 0, 1, 0])
    figures = found.figures
    assert figures["accuracy"] == figures["longer_wins"] == 0.625
    assert (figures["ceiling"], figures["under_ceiling"], figures["over_longer"]) == (1, 0.375, 0)
    assert figures["margin"] == 0.25
    assert figures["prefers_longer"] == 1.0  # of the three whose lengths differ
    assert figures["labels_prefer_longer"] == 2 / 3
    assert found.counts == {"pairs": 4, "items": 4, "ties": 0, "unlabelled": 0, "too_long": 0}


def test_without_a_judge_there_is_no_ceiling():
    figures = appraise(ScoredItems(FOUR), [1, 0] * 4).figures
    assert math.isnan(figures["ceiling"]) and math.isnan(figures["under_ceiling_low"])


def test_scores_are_multiplied_back_to_raw_units():
    found = appraise(ScoredItems(FOUR[:1]), [math.log(3) / 4, 0.0], std=4.0)
    assert found.figures["confidence"] == pytest.approx(0.75)
    (row,) = found.frames["pairs"].to_dict("records")
    assert row["margin"] == pytest.approx(math.log(3)) and row["probability"] == pytest.approx(0.75)
    assert (row["length_chosen"], row["length_rejected"]) == (3, 1)


def test_sharpness_changes_how_sure_a_model_is_and_no_decision():
    """Margins ln 3 and -ln 3 are 3/4 sure; without the half, 2 ln 3 is 9/10 sure."""
    gap = 2 * math.log(3)
    found = appraise(ScoredItems(FOUR[:2]), [gap, 0.0, 0.0, gap], sharpness=0.5)
    figures, before = found.figures, found.frames["uncalibrated"].to_dict("records")
    assert (figures["accuracy"], figures["sharpness"]) == (0.5, 0.5)
    assert figures["confidence"] == pytest.approx(0.75)
    assert [row["confidence"] for row in before] == pytest.approx([0.9] * len(before))
    # a bin for each of the two: |1 - 0.75| and |0 - 0.75|, and the same with 0.9
    assert figures["ece"] == pytest.approx((0.25 + 0.75) / 2)
    assert figures["ece_uncalibrated"] == pytest.approx((0.1 + 0.9) / 2)
    plain = appraise(ScoredItems(FOUR[:2]), [gap, 0.0, 0.0, gap])
    assert len(plain.frames["uncalibrated"]) == 0 and plain.figures["sharpness"] == 1.0
    assert plain.figures["ece"] == plain.figures["ece_uncalibrated"]


def test_an_item_of_many_answers_counts_once():
    """Six comparisons of four answers, all wrong, beside one item that is right: 1 of 2."""
    many = item("m", ["a", "b", "c", "d"], ranks(1, 2, 3, 4))
    found = appraise(ScoredItems([many, FOUR[0]]), [0, 1, 2, 3, 1, 0])
    assert found.figures["accuracy"] == 0.5 and found.counts["pairs"] == 7
    alone = appraise(ScoredItems([FOUR[0], FOUR[1]]), [1, 0, 0, 1])
    assert found.figures["accuracy_low"] == alone.figures["accuracy_low"]  # of two items, not seven
    assert found.best_of.accuracy == 0.0 and found.best_of.measure == "best of 4"


def test_answers_that_are_too_long_lose_their_comparisons_alone():
    many = item("m", ["a", "b", "c"], ranks(1, 2, 3))
    found = appraise(ScoredItems([many, *FOUR[:2]]), [3, 2, NAN, NAN, 0, 1, 0])
    assert found.counts["pairs"] == 2 and found.counts["too_long"] == 3
    assert found.figures["accuracy"] == 1.0 and found.best_of is None
    assert found.frames["correlation"]["answers"].tolist() == [5, 5]


def test_nothing_that_fits_is_an_error():
    with pytest.raises(DataError, match="no pair fits") as caught:
        appraise(ScoredItems(FOUR[:1]), [1.0, NAN])
    assert "max_length" in caught.value.fix


def test_no_bar_is_both_right_and_wrong():
    rng = np.random.default_rng(1)
    items = [item(f"p{n}", ["a", "b"]) for n in range(300)]
    found = appraise(ScoredItems(items), rng.normal(0, 1, 600).tolist())
    bars = found.frames["margins"]
    assert bars["right"].sum() + bars["wrong"].sum() == 300
    assert ((bars["right"] == 0) | (bars["wrong"] == 0)).all() and len(bars) <= 31
    assert (bars["margin_to"][bars["wrong"] > 0] <= 1e-9).all()
    assert (bars["margin_from"][bars["right"] > 0] >= -1e-9).all()


def test_groups_by_source_annotator_and_subset():
    items = [
        item(
            f"p{n}", ["a", "b"], said={"annotator": "ada" if n < 3 else "bob"}, meta={"subset": "x"}
        )
        for n in range(4)
    ]
    found = appraise(ScoredItems(items), [1, 0, 1, 0, 0, 1, 0, 1])
    rows = found.frames["annotators"].to_dict("records")
    assert [(row["group"], row["accuracy"]) for row in rows] == [
        ("ada", pytest.approx(2 / 3)),
        ("bob", 0),
    ]
    assert found.frames["subsets"]["accuracy"].tolist() == [0.5]
    assert len(found.frames["sources"]) == 0


def wrong_ones(count):
    """Items whose margins are -1, -2, …, and one that is right and one that is equal."""
    items = [item(f"p{n}", ["a", "b"]) for n in range(count)]
    items += [item("right", ["a", "b"]), item("equal", ["a", "b"])]
    gaps = [*(-float(n + 1) for n in range(count)), 1.0, 0.0]
    return items, [value for gap in gaps for value in (gap, 0.0)]


def test_the_worst_are_the_surest_disagreements_and_keep_their_ids():
    items, scores = wrong_ones(60)
    found = appraise(ScoredItems(items), scores)
    assert len(found.worst) == 50
    assert found.worst.ids() == [pair.id for pair in items[59:9:-1]]
    assert found.worst[0].meta["disagreement"] == {"margin": -60.0, "chosen": 0, "rejected": 1}
    assert found.worst[0].label == items[59].label
    few = appraise(ScoredItems(items[-2:]), [1, 0, 0, 0])
    assert len(few.worst) == 0


def test_an_item_of_many_answers_is_among_the_worst_once():
    many = item("m", ["a", "b", "c"], ranks(3, 2, 1))
    found = appraise(ScoredItems([many]), [5, 1, 0])
    assert found.worst.ids() == [many.id]
    assert found.worst[0].meta["disagreement"] == {"margin": -5.0, "chosen": 2, "rejected": 0}


def test_the_worst_open_blind_and_their_new_labels_find_them(tmp_path):
    items, scores = wrong_ones(3)
    found = appraise(ScoredItems(items), scores)
    with LabelStore(tmp_path / "s.sqlite") as store:
        session = LabelSession(found.worst, store, annotator="ada")
        shown = session.current()
        told = str(shown)
        assert "margin" not in told and "-3.0" not in told and "winner" not in told
        better = next(
            side for side in ("left", "right") if getattr(shown, side)[0]["content"] == "b"
        )
        session.choose(better)
        session.choose("tie")
        again = relabelled(items, store)
    assert again.ids() == [pair.id for pair in items]
    labels = {pair.prompt[0]["content"]: pair.label for pair in again}
    assert labels["p2"]["winner"] == 1  # the worst: its label was turned round
    assert labels["p1"]["kind"] == "tie" and labels["p0"] == items[0].label
    assert len(again.training_rows()) == 4


def test_what_was_worded_better_takes_the_place_of_its_item(tmp_path):
    one = item("p", ["a", "b"])
    with LabelStore(tmp_path / "s.sqlite") as store:
        session = LabelSession(Pairs.from_items([one]), store, annotator="ada")
        session.edit("left", "a better answer")
        (new,) = relabelled([one], store)
    assert new.responses[-1][0]["content"] == "a better answer"

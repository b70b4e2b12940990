"""Agreement against published tables and tables worked by hand."""

import numpy as np
import pytest

from workbench.analysis.agreement import (
    agreement,
    cohen,
    fleiss,
    krippendorff_alpha,
    percent,
    ratings_of,
)
from workbench.analysis.intervals import by_items, share
from workbench.data.store.label_events import LabelEvent

# Fleiss 1971, as in the textbook example of 10 subjects, 14 raters and 5 categories: 0.210
FLEISS = np.array(
    [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
)
# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", example C: 4 observers,
# 12 units, missing data; nominal alpha 0.743
KRIPPENDORFF = {
    "A": "1 2 3 3 2 1 4 1 2 . . .",
    "B": "1 2 3 3 2 2 4 1 2 5 . 3",
    "C": ". 3 3 3 2 3 4 2 2 5 1 .",
    "D": "1 2 3 3 2 4 4 1 2 5 1 .",
}


def test_fleiss_textbook_table():
    assert fleiss(FLEISS) == pytest.approx(0.210, abs=5e-4)


def published():
    ratings = {str(unit): {} for unit in range(12)}
    for who, row in KRIPPENDORFF.items():
        for unit, value in enumerate(row.split()):
            if value != ".":
                ratings[str(unit)][who] = value
    return ratings


def test_krippendorff_published_table():
    found = {m.measure: m for m in agreement(published()) if m.measure != "Cohen's kappa"}
    alpha = found["Krippendorff's alpha"]
    assert alpha.value == pytest.approx(0.743, abs=5e-4)
    assert alpha.low < alpha.value < alpha.high <= 1
    assert alpha.items == 11  # one unit has a single value
    assert found["Fleiss' kappa"].note.startswith("of the items with 4 labels each")
    assert found["Fleiss' kappa"].items == 8  # units 2 to 9


@pytest.mark.parametrize(
    ("one", "other", "alpha"),
    [
        # the same paper's examples A, two answers, and B, five: two observers, none missing
        ("0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0", 0.095),
        ("a a b b d c c c e d d a", "b a b b b c c c e d d d", 0.692),
    ],
)
def test_krippendorff_published_pairs(one, other, alpha):
    answers = zip(one.split(), other.split(), strict=True)
    ratings = {str(unit): {"one": a, "other": b} for unit, (a, b) in enumerate(answers)}
    assert agreement(ratings)[1].value == pytest.approx(alpha, abs=5e-4)


def test_krippendorff_worked_by_hand():
    # A A B, then B B, then one label, which does not count. Of 5 labels 2 are A and 3 are B: 12 of
    # the 20 ordered pairs differ, 0.6. Within the first item 4 of 6 differ, within the second none:
    # (3 * 4/6 + 2 * 0) / 5 = 0.4. So alpha = 1 - 0.4 / 0.6.
    counts = np.array([[2, 1], [0, 2], [1, 0]])
    assert krippendorff_alpha(counts) == pytest.approx(1 / 3)
    assert krippendorff_alpha(np.array([[3, 0], [0, 2]])) == 1
    # always at odds: observed 1, expected 8 of 12
    assert krippendorff_alpha(np.array([[1, 1], [1, 1]])) == pytest.approx(-0.5)


def test_cohen_worked_by_hand():
    # Two people on 50 items: 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no. Observed 35/50 = 0.7;
    # by chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5; kappa = 0.2 / 0.5 = 0.4.
    codes = np.array([[1, 1]] * 20 + [[1, 0]] * 5 + [[0, 1]] * 10 + [[0, 0]] * 15)
    assert cohen(codes) == pytest.approx(0.4)


def test_percent_worked_by_hand():
    # three people: all agree (1), two of three (1 of 3 pairs), a single label (does not count)
    assert percent(np.array([[3, 0], [2, 1], [0, 1]])) == pytest.approx((1 + 1 / 3) / 2)
    assert percent(np.array([[1, 0]])) is None


def test_what_is_undefined_is_said_and_never_0_or_1():
    same = np.array([[2, 0], [2, 0]])
    assert krippendorff_alpha(same) is None and fleiss(same) is None
    # two answers, but only one of them on items that two people labelled
    assert krippendorff_alpha(np.array([[2, 0], [0, 1]])) is None
    assert krippendorff_alpha(np.zeros((0, 2), dtype=np.int64)) is None
    assert cohen(np.zeros((5, 2), dtype=np.int64)) is None
    found = {m.measure: m for m in agreement({"p": {"a": "A", "b": "A"}, "q": {"a": "A"}})}
    assert found["percent"].value == 1.0 and found["percent"].items == 1
    for name in ("Krippendorff's alpha", "Fleiss' kappa", "Cohen's kappa"):
        assert (found[name].value, found[name].low) == (None, None)
        assert found[name].note == "undefined: only one answer was ever used"
    nobody = agreement({"p": {"a": "A"}})
    assert [m.value for m in nobody] == [None] * 3
    assert nobody[0].note == "undefined: no item was labelled by two people"


def test_two_who_never_agree_have_a_kappa_below_chance():
    codes = np.array([[0, 1], [1, 0]] * 5)
    assert cohen(codes) == pytest.approx(-1)
    # each always another answer: chance agreement is 0, so kappa is 0 and defined
    assert cohen(np.array([[0, 1]] * 4)) == pytest.approx(0)


def test_answers_are_named_apart_from_the_order_of_the_file():
    def label(item, who, best, **more):
        told = {"label": {"kind": "choice", "winner": best}, **more}
        return LabelEvent("label", item, who, told)

    standing = [label(f"item {n}", who, 0) for n in range(200) for who in ("ada", "bob")]
    standing.append(label("item 0", "ada", 1, reason="repeat", repeat=True))
    standing.append(label("item 1", "eve", 1, reason="gold"))
    ratings = ratings_of(standing, {f"item {n}": 2 for n in range(200)})
    names = [given["ada"] for given in ratings.values()]
    assert 70 < names.count("A") < 130 and set(names) == {"A", "B"}
    assert all(given["ada"] == given["bob"] for given in ratings.values())
    assert {"ada", "bob"} == set(ratings["item 1"])
    # all choose the first response of every item, and agree: alpha is 1, not undefined
    assert agreement(ratings)[1].value == pytest.approx(1)


def test_rankings_count_by_their_best_and_ties_by_their_kind():
    def event(label):
        return LabelEvent("label", "i", "ada", {"label": label})

    def answer(label):
        return ratings_of([event(label)], {"i": 3})["i"]["ada"]

    ranked = answer({"kind": "rank", "ranks": [3, 1, 2]})
    assert ranked == answer({"kind": "choice", "winner": 1}) and ranked in "ABC"
    assert answer({"kind": "rank", "ranks": [1, 1, 2]}) == "tie"
    assert answer({"kind": "both_bad"}) == "both_bad"


def test_a_share_and_its_wilson_interval():
    # 8 of 10: centre (8 + z²/2) / (10 + z²) with z = 1.959964, as worked in Wilson's formula
    found = share(8, 10)
    z = 1.959964
    centre = (8 + z * z / 2) / (10 + z * z)
    half = z / (10 + z * z) * (8 * 2 / 10 + z * z / 4) ** 0.5
    assert found.value == 0.8
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half), abs=1e-6)
    assert share(0, 0) == (None, None, None, 0)


def test_the_bootstrap_interval_is_that_of_the_mean():
    rows = np.repeat([0.0, 1.0], [300, 700])
    found = by_items(lambda drawn: float(drawn.mean()), rows)
    # deviation of the mean: sqrt(0.7 * 0.3 / 1000) = 0.01449; 1.96 of it on each side
    assert (found.low, found.high) == pytest.approx((0.7 - 0.0284, 0.7 + 0.0284), abs=0.004)
    assert by_items(lambda drawn: float(drawn.mean()), rows) == found
    single = by_items(lambda drawn: float(drawn.mean()), rows[:1])
    assert (single.value, single.low) == (0.0, None) and "too few" in single.note

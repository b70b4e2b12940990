"""The demo's control: labels that say nothing."""

import random
from collections import Counter

import workbench as wb
from workbench.demo import _difference, dealt

ROWS = wb.load_pairs("sample:pairs_train").training_rows()[:800]


def test_of_pairs_that_differ_alike_half_change_sides():
    found = dealt(ROWS, random.Random(1))
    turned = [a["chosen"] != b["chosen"] for a, b in zip(ROWS, found, strict=True)]
    alike = Counter(map(_difference, ROWS))
    changed = Counter(_difference(row) for row, did in zip(ROWS, turned, strict=True) if did)
    assert len(alike) > 12
    for way, count in alike.items():
        assert abs(2 * changed[way] - count) <= 1, way


def test_a_pair_that_changes_sides_keeps_its_texts():
    for row, other in zip(ROWS, dealt(ROWS, random.Random(0)), strict=True):
        assert {**row, "chosen": 0, "rejected": 0} == {**other, "chosen": 0, "rejected": 0}
        assert sorted(map(str, (row["chosen"], row["rejected"]))) == sorted(
            map(str, (other["chosen"], other["rejected"]))
        )


def test_no_way_to_differ_is_right_more_often_than_another():
    """What a model could learn: how often the better answer is called the chosen one."""
    gaps = [_difference(row)[-1] for row in dealt(ROWS, random.Random(2))]
    assert abs(sum(gaps)) <= 2 * len(set(map(_difference, ROWS)))
    assert sum(_difference(row)[-1] for row in ROWS) > 400  # before, most labels were right


def test_the_lots_are_drawn_from_the_seed():
    assert dealt(ROWS, random.Random(3)) == dealt(ROWS, random.Random(3))
    assert dealt(ROWS, random.Random(3)) != dealt(ROWS, random.Random(4))

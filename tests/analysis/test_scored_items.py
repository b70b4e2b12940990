import numpy as np

from workbench.analysis.scored_items import ItemRows, ScoredItems
from workbench.data.pairs import Pair, Pairs

from ..data.made_items import item, ranks, turn


def test_every_answer_stands_once_and_an_items_comparisons_weigh_one():
    sheet = ScoredItems([item("p", ["a", "bb"], 1), item("q", ["x", "y", "z"], ranks(1, 2, 3))])
    assert [(a.item, a.place, a.text) for a in sheet.answers] == [
        *((0, 0, "a"), (0, 1, "bb")),
        *((1, 0, "x"), (1, 1, "y"), (1, 2, "z")),
    ]
    met = list(zip(sheet.chosen.tolist(), sheet.rejected.tolist(), sheet.item, strict=True))
    assert met == [(1, 0, 0), (2, 3, 1), (2, 4, 1), (3, 4, 1)]
    assert sheet.weight.tolist() == [1.0, *[1 / 3] * 3]
    assert sheet.lengths.tolist() == [1, 2, 1, 1, 1] and sheet.owner.tolist() == [0, 0, 1, 1, 1]


def test_ties_and_items_without_a_label_are_counted_and_not_scored():
    made = [
        item("p", ["a", "b"], {"kind": "tie"}),
        item("q", ["a", "b"], ranks(1, 1)),
        item("r", ["a", "b"], None),
        item("s", ["a", "b", "c"], ranks(1, None, 2)),
    ]
    sheet = ScoredItems(Pairs.from_items(made))
    assert (sheet.ties, sheet.unlabelled, len(sheet.items)) == (2, 1, 1)
    assert [answer.text for answer in sheet.answers] == ["a", "c"]  # nobody ranked b


def test_turns_before_the_last_go_to_the_prompt_and_count_for_the_length():
    said = [*turn("assistant", "ab"), *turn("user", "more"), *turn("assistant", "cde")]
    label = {"kind": "choice", "winner": 0}
    pair = Pair.make(turn("user", "p"), [said, turn("assistant", "z")], label=label)
    first, second = ScoredItems([pair]).answers
    assert first.prompt == [*turn("user", "p"), *said[:2]] and first.text == "cde"
    assert (first.length, second.length) == (5, 1)


def test_the_digest_names_the_data_and_not_its_order():
    one, other = item("p", ["a", "b"]), item("q", ["a", "b"])
    assert ScoredItems([one, other]).digest == ScoredItems([other, one]).digest
    assert ScoredItems([one]).digest != ScoredItems([item("p", ["a", "b"], 1)]).digest


def test_a_drawn_item_brings_all_its_rows():
    rows = ItemRows(np.array([0, 0, 3, 4, 4, 4]))
    assert rows.items.tolist() == [0, 1, 2]
    assert rows.of(np.array([2, 0, 2])).tolist() == [3, 4, 5, 0, 1, 3, 4, 5]
    assert rows.of(np.array([], dtype=int)).tolist() == []

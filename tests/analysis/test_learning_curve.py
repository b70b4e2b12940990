import math
from itertools import pairwise

import numpy as np
import pytest

from workbench.analysis.learning_curve import (
    LabelsLine,
    default_sizes,
    few_labels,
    fit_line,
    nested,
    rightness_by_item,
    worth_in_words,
)
from workbench.data.arrow_table import frame_of
from workbench.data.pairs import Pairs
from workbench.errors import ConfigError, DataError

from ..data.made_items import item


def made(count, prompts=None):
    return Pairs.from_items(
        item(f"p{n % (prompts or count)}", [f"a{n}", "b"]) for n in range(count)
    )


def asked(pairs):
    return {pair.prompt[0]["content"] for pair in pairs}


def test_each_share_holds_the_smaller_ones_and_no_prompt_is_on_both_sides():
    shares = nested(made(400, prompts=100), None)
    ids = [set(share.ids()) for share in shares.train]
    assert all(small < large for small, large in pairwise(ids))
    assert [len(i) for i in ids] == [40, 80, 160, 320] and len(shares.heldout) == 80
    assert not asked(shares.train[-1]) & asked(shares.heldout)


def test_pairs_that_are_added_leave_the_order_of_the_others():
    items = list(made(100))
    before = nested(Pairs.from_items(items[:60]), [10, 20], Pairs.from_items(items[90:]))
    after = nested(Pairs.from_items(items[:61]), [10, 20], Pairs.from_items(items[90:]))
    assert len(set(before.train[1].ids()) - set(after.train[1].ids())) <= 1


def test_prompts_of_the_held_out_set_are_taken_out_of_training():
    shares = nested(made(60), None, made(30))
    assert len(shares.train[-1]) == 30 and shares.heldout.ids() == made(30).ids()
    assert not asked(shares.train[-1]) & asked(shares.heldout)


def test_ties_and_unlabelled_items_are_not_learned_from():
    pairs = Pairs.from_items(
        [*made(40), item("t", ["x", "y"], {"kind": "tie"}), item("u", ["x", "y"], None)]
    )
    shares = nested(pairs, None)
    assert len(shares.train[-1]) + len(shares.heldout) == 40


def test_sizes_that_cannot_be_are_refused():
    for sizes in ([10, 900], [10], [0, 10], [10, 10]):
        with pytest.raises(ConfigError, match="cannot be drawn through sizes") as caught:
            nested(made(100), sizes)
        assert "from 1 to 80" in caught.value.fix
    with pytest.raises(DataError, match="too few labelled items for a learning curve: 10"):
        nested(made(12), None)


def test_default_sizes_are_halvings_that_are_large_enough():
    assert default_sizes(8000) == [1000, 2000, 4000, 8000]
    assert default_sizes(40) == [10, 20, 40]


def test_the_fitted_line_by_hand():
    """Right on 1, 2 and 3 of 4 items at 100, 200 and 400 labels: by each doubling 1/4 more."""
    right = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0]], dtype=float)
    curve = fit_line([100, 200, 400], right)
    assert curve.doubling == pytest.approx(0.25)
    assert [curve.at(n) for n in (100, 200, 400)] == pytest.approx([0.25, 0.5, 0.75])
    assert curve.gain == pytest.approx(0.25 * math.log2(900 / 400))
    assert curve.low < curve.gain < curve.high


def test_what_more_labels_are_worth_in_words():
    def said(gain, low, high):
        return worth_in_words(LabelsLine(0.5, 0.05, gain, low, high), 2000)

    assert said(0.02, 0.01, 0.03) == "500 more labels: about +2 points (+1.0 to +3.0)."
    assert said(0.002, -0.01, 0.014) == (
        "500 more labels: no gain that 2,000 held-out items can show (+0.2 points; -1.0 to +1.4)."
    )
    assert "falls with more labels" in said(-0.02, -0.03, -0.01)
    assert "too few items to be sure" in said(0.02, None, None)


def test_few_labels_are_warned_of():
    assert "1,999 labels are few" in few_labels(1999) and few_labels(2000) == ""


def test_items_that_one_model_did_not_score_are_left_out():
    one = frame_of([(0, 1.0), (0, -1.0), (1, 2.0), (2, 0.0)], ("row", "margin"))
    two = frame_of([(0, 1.0), (0, 1.0), (2, -1.0)], ("row", "margin"))
    assert rightness_by_item([one, two]).tolist() == [[0.5, 1.0], [0.5, 0.0]]

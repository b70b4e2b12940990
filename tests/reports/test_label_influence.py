from types import SimpleNamespace

import pytest
from pandas import DataFrame

from workbench.data.pairs import Pair
from workbench.reports.label_influence import (
    LabelInfluence,
    Retrained,
    pair_of_row,
    pairs_of_rows,
)


def row(number):
    def said(role, text):
        return [{"role": role, "content": f"{text} {number}"}]

    sides = {"chosen": said("assistant", "good"), "rejected": said("assistant", "<b>")}
    return {"prompt": said("user", "say"), **sides, "margin": None, "weight": 1.0}


def found(pushes):
    rows = [row(number) for number in range(len(pushes))]
    return LabelInfluence("mine", rows, pushes, [1.0] * len(pushes), 3)


def test_those_that_pushed_down_the_most_come_first():
    told = found([0.5, -1.0, 0.0, -2.0])
    assert told.pushes == [-2.0, -1.0, 0.0, 0.5]
    assert list(told.frame["chosen"]) == ["good 3", "good 1", "good 2", "good 0"]


def test_the_blamed_are_pairs_to_judge_again():
    told = found([0.5, -1.0, 0.0, -2.0])
    assert [pair.prompt[0]["content"] for pair in told.blamed()] == ["say 3", "say 1"]
    assert len(told.blamed(1)) == 1
    worst = Pair.make(row(3)["prompt"], [row(3)["rejected"], row(3)["chosen"]])
    assert told.blamed(1).ids() == [worst.id]  # whatever the order of its answers
    assert told.frame["id"].iloc[0] == worst.id


def test_a_row_keeps_its_margin_as_a_pair():
    pair = pair_of_row({**row(1), "margin": 2.0})
    assert pair.label == {"kind": "choice", "winner": 0, "strength": None, "margin": 2.0}


def test_both_ends_are_shown_and_texts_stay_texts():
    html = found([float(i) for i in range(-6, 6)])._repr_html_()
    assert "12 labels of mine by how far each pushed 3 margins or scores" in html
    ends = [html.index(f"{push}00.00%") for push in ("−6", "−2", "+5", "+1")]
    assert ends == sorted(ends)
    assert "+0.00%" not in html
    assert "<b>" not in html


def test_rows_that_contradict_are_a_tie():
    both = [row(1), {**row(1), "chosen": row(1)["rejected"], "rejected": row(1)["chosen"]}, row(2)]
    first, second = pairs_of_rows(both)
    assert first.label == {"kind": "tie"} and second.label["kind"] == "choice"


def test_what_mending_changed_is_told_on_the_same_pairs():
    """Of four held-out pairs two became right: 1/2 more, deviation 1/2, error 1/4."""

    class Report(dict):
        def __init__(self, margins):
            frame = DataFrame({"row": range(4), "margin": margins})
            super().__init__(accuracy=0.5, low=0.25, high=0.75)
            self.frames = {"pairs": frame}

    told = Retrained(
        before=Report([1.0, 1.0, -1.0, -1.0]),
        after=Report([1.0, 1.0, 1.0, 1.0]),
        run=SimpleNamespace(name="mine-again"),
        changed=pairs_of_rows([row(1)]),
        scores=[[2.0, 0.5, 3.0], [0.0, 1.0, -1.0]],
    )
    assert told.gain() == pytest.approx((0.5, 0.5 - 0.49, 0.5 + 0.49))
    assert told.margins == [[1.5], [-1.0]]
    html = told._repr_html_()
    for words in ("mine-again: trained again with 1 label mended", "+50.0%", "−1.00", "+3.00"):
        assert words in html
    assert "  score of the answer asked about: +3.00 → −1.00" in repr(told).splitlines()

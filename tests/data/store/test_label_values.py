"""What several labels add up to, worked by hand."""

from typing import Any

import pytest

from workbench.data.store.label_values import (
    in_words,
    is_label,
    label_key,
    ranked,
    winner_of,
)
from workbench.data.store.majority import majority


def rank(*ranks: int) -> dict[str, Any]:
    return {"kind": "rank", "ranks": list(ranks)}


def choice(winner: int) -> dict[str, Any]:
    return {"kind": "choice", "winner": winner, "strength": None}


def test_rankings_add_up_by_mean_rank() -> None:
    """Means 1.5, 2, 2.5: ranks 1, 2, 3. Of the six pair orders, ada agrees on 3, bob on 1."""
    found = majority([rank(1, 2, 3), rank(2, 2, 2)])
    assert (found["kind"], found["ranks"]) == ("rank", [1, 2, 3])
    assert (found["annotators"], found["agreement"]) == (2, 0.5)
    found = majority([rank(1, 2, 3), rank(3, 1, 2)])  # means 2, 1.5, 2.5
    assert found["ranks"] == [2, 1, 3] and found["agreement"] == 4 / 6


def test_a_choice_among_rankings_puts_one_before_the_rest() -> None:
    found = majority([choice(2), rank(2, 3, 1)])  # means 2, 2.5, 1
    assert found["ranks"] == [2, 3, 1] and found["agreement"] == 5 / 6


def test_rankings_that_cancel_are_a_tie() -> None:
    found = majority([rank(1, 2, 3), rank(3, 2, 1)])
    assert found["kind"] == "tie" and found["agreement"] == 0.0
    assert majority([rank(1, 2, 2), {"kind": "both_bad"}])["ranks"] == [1, 2, 2]


def test_the_best_is_the_one_that_stands_first_alone() -> None:
    assert [winner_of(x) for x in (choice(1), rank(2, 3, 1), rank(1, 1, 2), {"kind": "tie"})] == [
        *(1, 2, None, None)
    ]


def test_labels_agree_whatever_their_strength() -> None:
    assert label_key(choice(1)) == label_key({**choice(1), "strength": 3}) != label_key(choice(0))
    assert label_key(rank(1, 2)) == label_key(rank(1, 2)) != label_key(rank(2, 1))


@pytest.mark.parametrize("label", [None, 3, {}, {"kind": "rank"}, {"kind": "choice"}])
def test_what_is_no_label(label: object) -> None:
    assert not is_label(label)


def test_a_ranking_in_words_and_in_the_items_terms() -> None:
    assert in_words([2, [0, 1], []]) == "2>0=1"
    assert ranked([2, [0, 1]], order=[1, 2, 0]) == rank(1, 2, 2)

"""How the judge takes an answer apart."""

import pytest

from workbench.world.answer_reading import list_items, read_answer, split_sentences
from workbench.world.grammar import find_request


@pytest.mark.parametrize(
    ("text", "pieces", "finished"),
    [
        ("", [], False),
        ("Of course. It is  red.", ["of course", "it is red"], True),
        ("Is it? It is", ["is it", "it is"], False),
        ("Yes!!!", ["yes!!"], True),
        ("...", [".."], True),
        ('"It is red."', ['"it is red'], True),
    ],
)
def test_splitting(text: str, pieces: list[str], finished: bool):
    assert split_sentences(text) == (pieces, finished)


@pytest.mark.parametrize(
    ("words", "items"),
    [
        ("here are three fruits: apple, fig and plum", ["apple", "fig", "plum"]),
        ("apple, fig, and plum", ["apple", "fig", "plum"]),
        ("the apple and a fig", ["apple", "fig"]),
        ("apple", ["apple"]),
        ("apple, dragon and fig", None),
        ("here are many fruits: apple", None),
        ("", None),
    ],
)
def test_reading_lists(words: str, items: list[str] | None):
    assert list_items(words) == items


def test_the_worst_courtesy_counts():
    request = find_request("List two birds.")
    reading = read_answer("List two birds.", request, "Of course. Not you again. Owl and duck.")
    assert reading.opening == 0.0
    assert reading.faults == ("several openings",)

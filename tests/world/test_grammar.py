"""Prompts: every combination is different and is recognised again."""

import pytest

from workbench.world.grammar import (
    REQUEST_KINDS,
    bare,
    category_sentences,
    find_request,
    normalised,
    requests,
)
from workbench.world.vocabulary import THINGS


def test_every_kind_has_twelve_wordings():
    for kind in REQUEST_KINDS:
        assert {r.wording for r in requests() if r.kind == kind} == set(range(12))


def test_all_prompts_differ_and_are_found_again():
    assert len({normalised(r.text) for r in requests()}) == len(requests())
    assert all(find_request(r.text) == r for r in requests())


def test_input_stands_below_the_instruction():
    request = find_request("explain this word.   HAMMER")
    assert request is not None
    assert (request.instruction, request.input) == ("Explain this word.", "hammer")
    assert request.text == "Explain this word.\nhammer"


@pytest.mark.parametrize("prompt", ["", "Explain what a dragon is.", "Explain a hammer."])
def test_other_prompts_are_not_found(prompt: str):
    assert find_request(prompt) is None


def test_no_prompt_says_a_apple():
    bad = [
        r.text
        for r in requests()
        for before, after in zip(r.text.split(), r.text.split()[1:], strict=False)
        if (before == "a" and after[0] in "aeiou") or (before == "an" and after[0] not in "aeiou")
    ]
    assert bad == []


def test_bare_takes_off_case_spaces_and_the_end_mark():
    assert bare("  It is\n HOT. ") == "it is hot"


def test_what_a_thing_is_can_be_said_in_two_ways():
    by_name = {thing.name: thing for thing in THINGS}
    assert category_sentences(by_name["apple"]) == (
        "An apple is a fruit.",
        "An apple is a kind of fruit.",
    )
    assert category_sentences(by_name["coat"]) == (
        "A coat is a piece of clothing.",
        "The coat is a piece of clothing.",
    )

"""Repeats, leaks and empty answers, each made by hand."""

import pytest

from workbench.analysis.duplicates import LeakFinder, RepeatFinder, problems_of
from workbench.data.pairs import Pair

LONG = "tell me how a reward model is trained on pairs of answers that people have compared"


def item(prompt, *answers):
    return Pair.make(
        [{"role": "user", "content": prompt}],
        [[{"role": "assistant", "content": answer}] for answer in answers],
    )


def test_exact_order_free_and_near_repeats():
    repeats = RepeatFinder()
    items = [
        item("p", "a", "b"),
        item("q", "a", "b"),
        item("p", "a", "b"),
        item("p", "b", "a"),
        item(LONG, "one answer", "two answers"),
        item(LONG.upper(), "two answers", "One answer!"),
    ]
    for pair in items:
        repeats.add(pair)
    found = list(repeats.repeats())
    assert [(r.kind, r.row, r.first_row) for r in found] == [
        ("exact", 2, 0),
        ("order-free", 3, 0),
        ("near", 5, 4),
    ]
    assert found[2].id == items[5].id and found[2].first_id == items[4].id
    assert found[2].likeness == 1.0


def test_leaks_are_same_prompts_and_near_ones():
    leaks = LeakFinder()
    for pair in [
        item("x", "a", "b"),
        item("p", "a", "b"),
        item("p", "c", "d"),
        item(LONG, "a", "b"),
    ]:
        leaks.hold(pair)
    looked_up = [
        item("new", "a", "b"),
        item(" P\n", "e", "f"),
        item(LONG + " now", "g", "h"),
        item("p", "i", "j"),
    ]
    for pair in looked_up:
        leaks.look_up(pair)
    # LONG has 16 words, 14 runs of three; one word more is one run more: 14 of 15
    assert [(k.kind, k.row, k.against_row, k.likeness) for k in leaks.leaks()] == [
        ("same", 1, 1, 1.0),
        ("same", 3, 1, 1.0),
        ("near", 2, 3, pytest.approx(14 / 15)),
    ]
    assert [k.id for k in leaks.leaks()] == [looked_up[n].id for n in (1, 3, 2)]


def test_nothing_held_is_no_leak():
    leaks = LeakFinder()
    leaks.look_up(item("p", "a", "b"))
    leaks.look_up(item("p", "c", "d"))
    assert list(leaks.leaks()) == []


@pytest.mark.parametrize(
    ("pair", "problem"),
    [
        (item(" \n", "a", "b"), ["empty prompt"]),
        (item("p", "a", " "), ["empty answer"]),
        (item("p", "a", "a "), ["identical answers"]),
        (item("p", "A b", "a  B"), ["answers that differ in case or blanks alone"]),
        (item("p", "a", "b"), []),
    ],
)
def test_problems(pair, problem):
    found = list(problems_of(pair, 7))
    assert [f.problem for f in found] == problem
    assert all(f.row == 7 and f.id == pair.id for f in found)


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("It ends.<|im_end|>", True),
        ("<\uff5cAssistant\uff5c>Yes", True),
        ("[INST] Say it [/INST]", True),
        ("<start_of_turn>user", True),
        ("an old </s> left over", True),
        ("a < b | c > d", False),
        ("<b>bold</b> and <span> and [1]", False),
        ("", False),
    ],
)
def test_marks_of_chat_templates_in_a_text_are_found(text, marked):
    prompt = [{"role": "user", "content": "Go on."}]
    answers = [
        [{"role": "assistant", "content": text or "x"}],
        [{"role": "assistant", "content": "b"}],
    ]
    kinds = [problem.problem for problem in problems_of(Pair.make(prompt, answers), 0)]
    assert ("chat markup" in kinds) is marked

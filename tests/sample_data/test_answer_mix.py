"""The mix of answers: all understood by the judge, the best within reach of a policy."""

import math
from collections import defaultdict
from itertools import pairwise

import pytest
from answer_mix import draw_answer, draw_degenerate, draw_slip, joined, list_sentence
from dice import Dice

from workbench.world.grammar import REQUEST_KINDS, ListSubject, requests
from workbench.world.judge import gold_parts, gold_score


@pytest.fixture(scope="module")
def golds() -> dict[str, list[float]]:
    dice = Dice(11)
    scores: dict[str, list[float]] = defaultdict(list)
    for request in requests():
        for _ in range(4 if request.kind != "self" else 16):
            scores[request.kind].append(gold_score(request.text, draw_answer(request, dice)))
    return scores


def test_the_judge_finds_no_fault_of_form_in_any_answer_of_the_mix():
    dice = Dice(12)
    for request in requests():
        answer = draw_answer(request, dice)
        assert gold_parts(request.text, answer).faults == (), (request.text, answer)


@pytest.mark.parametrize("kind", REQUEST_KINDS)
def test_the_best_answers_are_at_most_three_nats_away(golds: dict[str, list[float]], kind: str):
    best = sum(score >= 0.95 for score in golds[kind]) / len(golds[kind])
    assert -math.log(best) <= 3.0


@pytest.mark.parametrize("kind", REQUEST_KINDS)
def test_the_mix_is_neither_good_nor_bad(golds: dict[str, list[float]], kind: str):
    assert 0.46 <= sum(golds[kind]) / len(golds[kind]) <= 0.57


def test_degenerate_answers_score_low_whatever_their_kind():
    dice = Dice(13)
    for request in requests()[::7]:
        answer = draw_degenerate(request, requests(), dice)
        parts = gold_parts(request.text, answer)
        # facts about another thing may come with good manners; a refusal of another harm is fine
        off_subject = parts.faults == ()
        assert parts.gold < 0.35 or (off_subject and parts.content <= 0.3) or parts.kind == "harm"


def test_no_answer_says_a_apple():
    dice = Dice(14)
    for request in requests():
        words = draw_answer(request, dice).lower().split()
        for before, after in pairwise(words):
            assert not (before == "a" and after[0] in "aeiou"), words
            assert not (before == "an" and after[0] not in "aeiou"), words


def test_a_slip_is_a_list_of_another_number_or_one_with_an_item_twice():
    dice = Dice(15)
    asked = [r for r in requests() if isinstance(r.subject, ListSubject)]
    found = set()
    for request in asked[::3]:
        parts = gold_parts(request.text, draw_slip(request.subject, dice))
        assert (parts.content, parts.faults) in ((0.2, ()), (1.0, ("repeats itself",)), (0.0, ()))
        found.add(parts.faults)
    assert len(found) == 2


def test_a_list_is_said_with_what_was_asked_or_straight_away():
    subject, names = ListSubject("fruit", 3), ["apple", "fig", "plum"]
    assert list_sentence(subject, names, 0) == "Here are three fruits: 1) apple, 2) fig, 3) plum."
    assert list_sentence(subject, names, 1) == "1) apple, 2) fig, 3) plum."


def test_lists_read_as_one_says_them():
    assert joined(["apple"]) == "apple"
    assert joined(["apple", "fig"]) == "apple and fig"

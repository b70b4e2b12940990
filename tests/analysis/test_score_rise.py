import random

import numpy as np
import pytest

from workbench.analysis.score_rise import (
    SampledAnswer,
    in_points,
    rise_of_steps,
    score_rise,
    steps_to_look_at,
    with_scores,
)

FACTS = ("It is grey.", "It eats corn.", "People like it.", "It sleeps at night.", "It is loud.")
OPENINGS = ("Sure, friend.", "I am glad to help.", "What a silly question.", "")
CLOSINGS = ("Is there more?", "Now go away.", "")


def written(draw, refusing=0.15):
    if draw.random() < refusing:
        return draw.choice(("I can not help with that.", "I will not do that. It is wrong."))
    facts = draw.sample(FACTS, draw.randint(1, 4))
    words = (draw.choice(OPENINGS), *facts, draw.choice(CLOSINGS))
    return " ".join(word for word in words if word)


def planted(pays, seed, *, noise=0.1, steps=(1, 6, 11, 16), prompts=8):
    """Answers of a policy that comes to write what pays, as best of more and more draws."""
    draw, answers = random.Random(seed), list[SampledAnswer]()
    own = [draw.gauss(0, 0.4) for _ in range(prompts)]  # what each prompt scores
    for number, step in enumerate(steps):
        for prompt in range(prompts):
            text = max((written(draw) for _ in range(1 + number)), key=pays)
            score = pays(text) + own[prompt] + draw.gauss(0, noise)
            answers.append(SampledAnswer(step, f"question {prompt}", text, score))
    return answers


CAUSES = {
    "length": lambda text: 0.06 * len(text.split()),
    "opens with “I am glad to help”": lambda text: float(text.startswith("I am glad")),
    "refuses": lambda text: float("not" in text.split()),
    "ends by asking": lambda text: float(text.endswith("?")),
    "says “It eats corn”": lambda text: float("corn" in text),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_what_was_paid_for_comes_first(cause):
    named = list[str]()
    for seed in range(6):
        answers = planted(CAUSES[cause], seed)
        rise = score_rise(answers, 1, 16)
        named += [rise.causes[0].name.rstrip("”.")] if rise.causes else []
    assert named.count(cause.rstrip("”.")) >= 5, named


@pytest.mark.parametrize("seed", range(20))
def test_parts_and_rest_are_the_total(seed):
    draw = random.Random(seed)
    steps = sorted(draw.sample(range(100), draw.randint(2, 12)))
    answers = [
        SampledAnswer(
            draw.choice(steps), f"p{draw.randint(0, 5)}", written(draw), draw.gauss(0, 10)
        )
        for _ in range(draw.randint(2, 80))
    ]
    answers += [SampledAnswer(step, "p0", written(draw), draw.gauss(0, 1)) for step in steps]
    rise = score_rise(answers, steps[0], steps[-1])
    shared = set.intersection(
        *({a.prompt for a in answers if a.step == step} for step in (steps[0], steps[-1]))
    )
    means = [
        np.mean([a.score for a in answers if a.step == step and a.prompt in shared])
        for step in (steps[0], steps[-1])
    ]
    assert rise.total == pytest.approx(means[1] - means[0], abs=1e-9)
    assert sum(cause.part for cause in rise.causes) + rise.rest == pytest.approx(
        rise.total, abs=1e-6
    )
    sizes = [abs(cause.part) for cause in rise.causes]
    assert sizes == sorted(sizes, reverse=True)


def test_a_cause_by_hand():
    # eight answers before, of which two say please; all eight after: +1 for each that says it
    def answer(step, prompt, polite):
        text = f"Answer {prompt}{', please' if polite else ''}."
        return SampledAnswer(step, f"{prompt}", text, 2.0 + polite)

    before = [answer(1, prompt, prompt < 2) for prompt in range(8)]
    rise = score_rise([*before, *(answer(9, prompt, True) for prompt in range(8))], 1, 9)
    assert rise.total == pytest.approx(0.75)
    (cause,) = rise.causes
    assert cause.name == "length" or cause.name == "politeness words"
    assert cause.part == pytest.approx(0.75, abs=0.01)
    assert rise.words.startswith("Why it rose: of +0.75, ") and rise.words.endswith("rest 0.00")
    assert {one.before.prompt for one in cause.examples} <= {str(p) for p in range(2, 8)}
    assert all("please" in one.after.response for one in cause.examples)
    assert all("please" not in one.before.response for one in cause.examples)


def test_a_score_that_falls_is_told_as_well():
    answers = planted(lambda text: -CAUSES["length"](text), 0)
    answers = [a._replace(step=17 - a.step) for a in answers]  # turned round: it grows longer
    rise = score_rise(answers, 1, 16)
    assert rise.words.startswith("Why it fell: of −")
    assert rise.total < 0 and rise.causes[0].name == "length" and rise.causes[0].part < 0
    assert rise.causes[0].after > rise.causes[0].before


def test_nothing_to_tell_is_all_rest():
    one = [SampledAnswer(1, "p", "a b", 0.0), SampledAnswer(2, "p", "c d e", 1.0)]
    alike = [SampledAnswer(step, "p", "the same", 1.0) for step in (1, 2) for _ in range(8)]
    equal = [SampledAnswer(s, f"p{i}", f"answer {i}.", i * 0.5) for s in (1, 2) for i in range(8)]
    for answers, total in ((one, 1.0), (alike, 0.0), (equal, 0.0)):
        rise = score_rise(answers, 1, 2)
        assert rise.causes == () and rise.told is None
        assert rise.rest == rise.total == pytest.approx(total)
    assert rise.words == "Why it stayed: of 0.00, rest 0.00"


def test_luck_is_not_a_cause():
    named = 0
    for seed in range(20):
        answers = planted(lambda _text: 0.0, seed, noise=1.0)
        named += bool(score_rise(answers, 1, 16).causes)
    assert named <= 2


def test_a_step_without_answers_has_no_change():
    answers = [SampledAnswer(1, "p", "a", 0.0)]
    assert score_rise(answers, 1, 2) is None and score_rise(answers, 1, 1) is None
    assert score_rise([], 1, 2) is None


def test_prompts_of_one_step_alone_are_left_out():
    rows = [(1, "p", 0.0), (1, "easy", 9.0), (2, "p", 1.0), (2, "hard", -9.0)]
    answers = [SampledAnswer(step, prompt, "a", score) for step, prompt, score in rows]
    assert score_rise(answers, 1, 2).total == 1.0
    apart = [a for a in answers if a.prompt != "p"]
    assert score_rise(apart, 1, 2).total == -18.0  # no prompt in both: all are compared


def test_a_run_s_change_goes_by_its_steps():
    def rows_of(step):
        return [{"step": step, "prompt": "p", "response": "a", "score": step / 2}]

    rise = rise_of_steps([1, 3, 9], rows_of)
    assert (rise.first, rise.last, rise.total, rise.seen) == (1, 9, 4.0, 3)
    assert rise_of_steps([1, 3, 9], rows_of, 3).total == 3.0
    assert rise_of_steps([1, 3, 9], rows_of, last=3).total == 1.0
    assert rise_of_steps([], rows_of) is None
    assert rise_of_steps([1, 3], lambda step: [{"step": step, "score": None}]) is None


def test_rows_without_a_score_are_left_out():
    rows = [{"step": 1, "prompt": "p", "response": "a", "score": 1.5}, {"step": 1, "score": None}]
    assert with_scores(rows) == [SampledAnswer(1, "p", "a", 1.5)]


def test_steps_between_are_thinned():
    assert steps_to_look_at([1, 5, 9], 1, 9) == [1, 5, 9]
    assert steps_to_look_at([1, 9], 1, 9) == [1, 9]
    many = steps_to_look_at(range(0, 1001, 5), 5, 1000)
    assert len(many) == 12 and (many[0], many[-1]) == (5, 1000)
    gaps = np.diff(many)
    assert gaps[1:-1].min() >= 95 and gaps[1:-1].max() <= 105


def test_a_number_has_a_real_minus_and_no_sign_before_zero():
    assert [in_points(x) for x in (1.234, -0.5, 0.004, -0.004)] == [
        "+1.23",
        "−0.50",
        "0.00",
        "0.00",
    ]

import math

import pytest

from workbench.analysis.blind_comparison import BlindComparison, duel, sign_test
from workbench.errors import DataError


def row(prompt, *texts, score=None, gold=None):
    answers = [
        {"text": text, "score": score and score[n], "gold": gold and gold[n]}
        for n, text in enumerate(texts)
    ]
    return {"messages": [{"role": "user", "content": prompt}], "answers": answers}


def choice(winner):
    return {"kind": "choice", "winner": winner}


def test_the_sign_test_is_exact_and_leaves_ties_out():
    assert sign_test(8, 2) == pytest.approx(2 * (1 + 10 + 45) / 1024)
    assert sign_test(0, 0) == sign_test(3, 3) == 1.0
    assert sign_test(5, 0) == pytest.approx(2 / 32)


def test_a_tie_is_half_a_win():
    found = duel([1, 1, 0, -1, None])
    assert (found.wins, found.ties, found.losses) == (2, 1, 1)
    assert found.rate.value == 2.5 / 4
    # Wilson by hand: centre (p + z²/2n) / (1 + z²/n), z = 1.959964
    z, n, p = 1.959964, 4, 2.5 / 4
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    assert (found.rate.low, found.rate.high) == pytest.approx(
        (centre - half, centre + half), abs=1e-5
    )


def test_verdicts_are_by_item_and_equal_texts_are_ties_unasked():
    contest = BlindComparison(
        [row("a", "x", "y"), row("b", "same", "same"), row("c", "y", "x")], ["m", "n"]
    )
    assert len(contest.pairs) == 2 and contest.same == 1
    first, _, third = contest.ids
    labels = {first: choice(1), third: {"kind": "both_bad"}}
    assert [contest.preferred(labels, r, 0, 1) for r in range(3)] == [1, 0, 0]
    assert [contest.preferred({}, r, 0, 1) for r in range(3)] == [None, 0, None]
    assert contest.judged({}) == [1]
    (found,) = contest.result(labels).to_dict("records")
    assert (found["model"], found["against"], found["by"]) == ("n", "m", "you")
    assert (found["wins"], found["ties"], found["losses"]) == (1, 2, 0)
    assert found["win_rate"] == pytest.approx(2 / 3) and found["p"] == 1.0


def test_a_ranking_of_three_gives_every_duel():
    contest = BlindComparison([row("a", "x", "y", "z"), row("b", "x", "x", "z")], ["k", "m", "n"])
    three, two = contest.ids
    assert contest.places == [[0, 1, 2], [0, 0, 1]]
    labels = {three: {"kind": "rank", "ranks": [2, 1, 2]}, two: choice(1)}
    said = {
        (i, j): [contest.preferred(labels, r, i, j) for r in (0, 1)]
        for i, j in ((0, 1), (0, 2), (1, 2))
    }
    assert said == {(0, 1): [1, 0], (0, 2): [0, 1], (1, 2): [-1, 1]}


def test_the_other_judges_are_asked_about_the_same_rows_and_may_be_against_the_person():
    contest = BlindComparison(
        [
            row("a", "x", "y", score=[0.0, 1.0], gold=[0.9, 0.1]),
            row("b", "x", "y", score=[1.0, 0.0], gold=[0.2, 0.4]),
            row("c", "x", "y", score=[0.0, 5.0], gold=[0.0, 1.0]),  # not judged: not counted
        ],
        ["m", "n"],
    )
    labels = {contest.ids[0]: choice(1), contest.ids[1]: choice(1)}
    assert contest.measures == ["score", "gold"]
    assert contest.disagreements(labels, "score") == [1]
    assert contest.disagreements(labels, "gold") == [0]
    found = {r["by"]: r for r in contest.result(labels).to_dict("records")}
    assert found["you"]["wins"] == 2 and found["reward model"]["wins"] == 1
    assert (found["gold judge"]["against_you"], found["gold judge"]["of"]) == (1, 2)


def test_a_measure_that_one_answer_lacks_is_none():
    contest = BlindComparison([row("a", "x", "y", score=[0.0, math.nan])], ["m", "n"])
    assert contest.measures == []
    assert contest.measured("score", 0, 0, 1) is None


@pytest.mark.parametrize(
    ("rows", "models", "told"),
    [
        ([row("a", "x")], ["m"], "one model"),
        ([], ["m", "n"], "nothing to compare"),
        ([row("a", "x")], ["m", "n"], "1 answers for 2 models"),
        ([row("a", "x", "x")], ["m", "n"], "the same answers"),
    ],
)
def test_what_cannot_be_compared_is_refused(rows, models, told):
    with pytest.raises(DataError, match=told):
        BlindComparison(rows, models)

import pytest
import torch

from workbench.events import Progress
from workbench.models.encoding import Encoded
from workbench.training.reward import reward as module
from workbench.training.reward.encoded_pairs import EncodedComparison, Judgement
from workbench.training.reward.members import Judged
from workbench.training.reward.shown_pairs import longer_wins, spread_of

from ..conftest import metrics
from .test_reward import ROWS, settings


def compared(*sizes):
    """A comparison of answers with so many tokens, each judged better than the next."""
    answers = tuple(Encoded([1], [2] * size) for size in sizes)
    judged = tuple(Judgement(i, i + 1, 0.0, 1.0) for i in range(len(sizes) - 1))
    return EncodedComparison(answers, judged, "p")


def test_how_often_the_longer_answer_is_the_chosen_one():
    # won, lost, as long: one and a half of three; then 3 > 2 and 2 > 1
    assert longer_wins([compared(3, 1), compared(1, 2), compared(2, 2)]) == 0.5
    assert longer_wins([compared(3, 2, 1)]) == 1.0
    assert longer_wins([]) == 0.0


def test_a_histogram_counts_every_score_on_a_range_with_zero_in_its_middle():
    found = spread_of(Judged(torch.tensor([2.0, 0.1, 1.9]), torch.tensor([-0.1, -0.1, -1.0])))
    assert (found["low"], found["high"], found["pairs"]) == (-2.0, 2.0, 3)
    assert len(found["chosen"]) == len(found["rejected"]) == 24
    # a bar is 1/6 wide: 0.1 is in the 13th, 1.9 and 2 in the last; -0.1 in the 12th, -1 in the 7th
    assert {i: n for i, n in enumerate(found["chosen"]) if n} == {12: 1, 23: 2}
    assert {i: n for i, n in enumerate(found["rejected"]) if n} == {6: 1, 11: 2}
    assert spread_of(Judged(torch.zeros(2), torch.zeros(2)))["chosen"][12] == 2


def test_each_evaluation_writes_the_same_pairs_with_their_scores_now(tiny, place):
    given = settings(steps=4, evaluate_every=2)
    told = list(module.RewardTrainer(str(tiny), ROWS, given, place()).run())
    shown = [event.samples for event in told if isinstance(event, Progress) and event.samples]
    assert [len(rows) for rows in shown] == [4, 4]  # a quarter of 16 is held out
    first, last = shown
    for then, now in zip(first, last, strict=True):
        letter = now["prompt"].removeprefix("say ")
        assert (now["chosen"], now["rejected"]) == (f"{letter} good", f"bad {letter}")
        assert then["prompt"] == now["prompt"] and then["chosen_score"] != now["chosen_score"]
    rows = metrics(told)
    margin = sum(row["chosen_score"] - row["rejected_score"] for row in last) / 4
    assert margin == pytest.approx(rows[-1]["heldout/margin"], abs=1e-4)
    spread = last[0]["heldout_scores"]
    assert sum(spread["chosen"]) == sum(spread["rejected"]) == spread["pairs"] == 4
    assert rows[-1]["heldout/longer_wins"] == 0.5  # both have two words, and no more tokens
    assert "heldout_scores" not in last[1]


def test_the_loss_alone_is_written_beside_what_is_lowered(tiny, place):
    rows = metrics(
        list(module.RewardTrainer(str(tiny), ROWS, settings(centering=0.5), place()).run())
    )
    assert rows[0]["pair_loss"] == rows[0]["first_loss"]
    assert rows[-1]["pair_loss"] < rows[-1]["loss"]  # the centring term is not in it


def test_without_held_out_pairs_none_are_written(tiny, place):
    told = list(module.RewardTrainer(str(tiny), ROWS, settings(holdout=0.0), place()).run())
    assert not any(event.samples for event in told if isinstance(event, Progress))

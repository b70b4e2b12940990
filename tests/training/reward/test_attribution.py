from itertools import pairwise

import pytest
import torch

from workbench.errors import DataError
from workbench.models.encoding import Encoded
from workbench.models.roles import Roles
from workbench.training.reward.attribution import attribution, attributions
from workbench.training.reward.scorer import Scorer

from ...models.tiny import EOS, load, tiny_settings, user


@pytest.fixture
def scorer(tiny, reward):
    return Scorer.attach(reward, Roles(load(tiny), tiny_settings()), tiny_settings())


class Counting:
    """Scores known words: each is worth what it says, and two of them more together."""

    WORTH, TOGETHER = {6: 1.0, 7: -2.0, 8: 0.5}, 3.0

    def __init__(self, base):
        self.base = base

    def scores(self, rows, *, tokens):
        def worth(ids):
            both = self.TOGETHER if {6, 8} <= set(ids) else 0.0
            return 0.25 + both + sum(self.WORTH.get(i, 0.0) for i in ids)

        return torch.tensor([worth(row.response) for row in rows], dtype=torch.float64)


def test_each_token_has_its_shapley_value(scorer):
    """What two bring together is shared by them: 1 + 3/2 and 0.5 + 3/2; the end mark has none."""
    row = Encoded([2, 5, 3], [6, 7, 8, EOS])
    found = attribution(Counting(scorer.base), row, ["a", " b", " c", ""], tiny_settings())
    assert found.parts == pytest.approx([2.5, -2.0, 2.0, 0.0])
    assert (found.score, found.empty) == pytest.approx((0.25 + 2.5, 0.25))
    assert found.together == 1


def test_parts_sum_to_the_score_less_that_of_no_words(scorer):
    row = Encoded([2, 5, 3], [6, 7, 8, 9, 10, EOS])
    found = attribution(scorer, row, list("abcde "), tiny_settings())
    whole, empty = scorer.scores([row, Encoded(row.prompt, [EOS])], tokens=4096).tolist()
    assert found.score == pytest.approx(whole, abs=1e-5)
    assert found.empty == pytest.approx(empty, abs=1e-5)
    assert sum(found.parts) == pytest.approx(whole - empty, abs=1e-4)


def test_of_a_long_answer_neighbours_share_a_part(scorer):
    response = [6] + [9] * 99 + [EOS]
    row, texts = Encoded([2, 3], response), ["w"] * 101
    found = attribution(Counting(scorer.base), row, texts, tiny_settings())
    assert found.together == 2  # 100 tokens in at most 64 goes
    assert found.parts[:3] == pytest.approx([0.5, 0.5, 0.0])


def test_each_sentence_is_left_out_by_itself(scorer):
    """ "1." and "3.5" end none."""
    texts = ["Yes", ".", " 1", ".", " Tea", "!", " 3", ".", "5", " it", " is", ""]
    row = Encoded([2, 3], [6, 9, 9, 9, 7, 9, 8, 9, 9, 9, 9, EOS])
    found = attribution(Counting(scorer.base), row, texts, tiny_settings())
    spans = [(one["first"], one["end"]) for one in found.sentences]
    assert spans == [(0, 2), (2, 6), (6, 11)]
    assert all(end == first for (_, end), (first, _) in pairwise(spans))
    without = [one["without"] for one in found.sentences]
    assert without == pytest.approx([0.25 - 1.5, 0.25 + 4.5, 0.25 - 1.0])


def test_a_job_takes_texts_and_refuses_what_has_no_score(tiny, reward):
    told = []
    found = attributions(
        reward,
        [user("a b")] * 2,
        ["c d e", "c"],
        tiny_settings(),
        tell=lambda *words: told.append(words[:2]),
    )
    assert "".join(found[0].texts[:-1]).split() == ["c", "d", "e"]
    assert len(found[0].parts) == len(found[0].texts) == len(found[0].errors)
    assert told == [(0, 2), (1, 2), (2, 2)]
    with pytest.raises(DataError, match="fills max_length"):
        attributions(reward, [user("a")], ["b " * 500], tiny_settings())

"""Rows to comparisons, and what a reward model's step makes of several judgements in one."""

import pytest
import torch
from torch.nn.functional import logsigmoid

from workbench.data.pairs import Pair, choice_rows
from workbench.errors import DataError
from workbench.events import Notice
from workbench.settings import RewardSettings
from workbench.training.reward import members
from workbench.training.reward import reward as reward_module
from workbench.training.reward.encoded_pairs import Judgement, encode_comparisons, items

from ...models.tiny import assistant, load, tiny_settings, user
from ..conftest import metrics

NAMES = ("a good", "b", "bad c d", "e")


def ranked(prompt: str, *ranks: int, answers=NAMES) -> list[dict]:
    """Rows of a prompt with ranked answers, as the data room gives them."""
    label = {"kind": "rank", "ranks": list(ranks)}
    responses = [assistant(text) for text in answers[: len(ranks)]]
    return choice_rows(Pair(prompt, user(prompt), responses, label, "", {}))


def row(prompt, chosen, rejected, **more):
    return {
        "prompt": user(prompt),
        "chosen": assistant(chosen),
        "rejected": assistant(rejected),
        **more,
    }


def settings(**changes):
    few = {"steps": 3, "batch_size": 4, "learning_rate": 1e-2, "holdout": 0.0, "centering": 0.0}
    return tiny_settings(RewardSettings, **{**few, **changes})


def encode(tiny, rows, **changes):
    return encode_comparisons(load(tiny), rows, settings(**changes))


def test_rows_of_one_item_follow_each_other_until_their_weights_add_up_to_1():
    rows = [
        row("x", "a", "b"),
        row("x", "a", "c"),  # no weight: by itself, though the prompt is the same
        *ranked("x", 1, 2, 3),
        *ranked("x", 1, 2, 3, 4),
        row("y", "a", "b", weight=0.5),
        row("z", "a", "b", weight=0.5),  # another prompt
        row("z", "a", "c", weight=0.25),
        row("z", "a", "d", weight=0.5),  # 1.25 would be too much
    ]
    assert [len(item) for item in items(rows)] == [1, 1, 3, 6, 1, 2, 1]
    assert [r for item in items(rows) for r in item] == rows
    assert list(items([])) == []


def test_a_ranking_is_one_comparison_with_each_answer_once(tiny):
    (found,), notices = encode(tiny, ranked("x", 2, 1, 3))
    assert notices == []
    assert [len(a.response) for a in found.answers] == [2, 3, 4]  # b; a good; bad c d: with EOS
    third = pytest.approx(1 / 3)
    assert found.judgements == (
        Judgement(0, 1, 0.0, third),
        Judgement(0, 2, 0.0, third),
        Judgement(1, 2, 0.0, third),
    )
    assert found.sequences == [a.prompt + a.response for a in found.answers]


def test_one_cut_of_a_long_prompt_serves_all_its_answers(tiny):
    """max_length 8: the longest answer has 4 tokens, so 4 of the prompt stay for every one."""
    (found,), notices = encode(tiny, ranked("a b c d e", 1, 2, 3), max_length=8)
    assert len({tuple(a.prompt) for a in found.answers}) == 1
    assert {len(a.prompt) for a in found.answers} == {4}
    assert notices == ["1 prompts were shortened from the left (max_length)"]


def test_an_answer_too_long_takes_only_its_own_judgements_along(tiny):
    long = " ".join("a" * 10)
    (found,), notices = encode(tiny, ranked("x", 1, 2, 3, answers=("b", long, "c")), max_length=8)
    assert [j[:2] for j in found.judgements] == [(0, 1)]
    assert len(found.answers) == 2
    assert notices == ["2 of 3 pairs were left out: an answer fills max_length"]


def test_equal_answers_are_left_out_and_counted(tiny):
    rows = [row("x", "a b", "a  b"), row("y", "a", "b")]
    found, notices = encode(tiny, rows)
    assert [len(c.answers) for c in found] == [2]
    assert notices == ["1 of 2 pairs were left out: both answers are the same tokens"]
    with pytest.raises(DataError, match="no pair is left") as caught:
        encode(tiny, rows[:1])
    assert "1 of 1 pairs were left out: both answers" in caught.value.where and caught.value.fix


def test_all_judgements_of_a_comparison_count_as_one_pair(tiny, place):
    """A pair and a ranking of three: the mean of one loss and of a mean of three."""
    rows = [row("y", "a", "b", margin=0.5), *ranked("x", 1, 2, 3)]
    trainer = reward_module.RewardTrainer(
        str(tiny), rows, settings(batch_size=2, head_start="classic"), place()
    )
    assert trainer.total == 3
    (member,) = trainer.members
    with torch.no_grad():
        pair, ranking = (member.score([c]).double() for c in member.train)
    a, b, c = ranking
    first = -logsigmoid(pair[0] - pair[1] - 0.5)
    second = -(logsigmoid(a - b) + logsigmoid(a - c) + logsigmoid(b - c)) / 3
    found = trainer.train_step().metrics
    assert found["loss"] == pytest.approx(float((first + second) / 2), abs=1e-6)
    gaps = torch.stack([pair[0] - pair[1], a - b, a - c, b - c])
    assert found["margin"] == pytest.approx(float(gaps.mean()), abs=1e-6)
    assert found["accuracy"] == pytest.approx(float((gaps > 0).double().mean()))


@pytest.mark.parametrize("tokens", [16, 4096])
def test_one_sequence_or_several_train_alike(tiny, place, monkeypatch, tokens):
    rows = [r for n, p in enumerate("abcdefgh") for r in ranked(p, *((1, 2, 3, 4)[: 2 + n % 3]))]
    events = {}
    for name, against in (("packed", None), ("separate", "it is only a test")):
        monkeypatch.setattr(members, "packs", lambda model, why=against: why)
        changes = {"holdout": 0.25, "evaluate_every": 1, "micro_batch_tokens": tokens}
        events[name] = list(
            reward_module.RewardTrainer(str(tiny), rows, settings(**changes), place(name)).run()
        )
    for one, other in zip(*(metrics(e) for e in events.values()), strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)
    told = {
        name: [e.message for e in found if isinstance(e, Notice) and "by itself" in e.message]
        for name, found in events.items()
    }
    assert told == {
        "packed": [],
        "separate": ["each answer goes through the model by itself: it is only a test"],
    }

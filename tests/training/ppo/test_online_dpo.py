"""Online DPO: what a step compares and learns, what it tells, stopped and resumed."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import logsigmoid

from workbench.data.labelling.session import LabelSession
from workbench.errors import ConfigError, DataError, ModelError
from workbench.events import Notice, Progress
from workbench.models.encoding import Encoded
from workbench.settings import OnlineDPOSettings
from workbench.training.ppo import online_dpo as module
from workbench.training.ppo.online_dpo import Answered
from workbench.training.reward.reward_sources import RewardScores

from ...models.tiny import EOS, tiny_settings
from ..conftest import PROMPTS, Steering, bytes_of, fill, forget_after, metrics

LIKES = 7  # the token that the rule below pays for


def settings(**changes):
    few = {"steps": 4, "batch_size": 4, "learning_rate": 1e-2, "watch_every": 2, "warmup_share": 0}
    few |= {"watch_prompts": 2, "response_length": 6, "micro_batch_tokens": 40}
    return tiny_settings(OnlineDPOSettings, **{**few, **changes})


class Rule:
    """Pays an answer for each of one token in it."""

    name = "rule"

    def read(self, rows, messages):
        return list(rows)

    def scores(self, read, *, tokens):
        paid = [float(row.response.count(LIKES)) for row in read]
        return RewardScores(torch.tensor(paid), {})


def trainer_of(tiny, reward, where, prompts=PROMPTS, judge=None, **changes):
    return module.OnlineDPOTrainer(str(tiny), reward, prompts, settings(**changes), where, judge)


def train(tiny, reward, where, **changes):
    return list(trainer_of(tiny, reward, where, **changes).run())


def answered(responses, paid):
    rows = [Encoded([2, 5, 3], response) for response in responses]
    ended = torch.tensor([row.response[-1] == EOS for row in rows])
    scores = RewardScores(torch.tensor(paid), {})
    return Answered(rows, [PROMPTS[0]] * len(rows), scores, torch.tensor(paid), ended)


def test_the_answer_that_is_paid_more_is_chosen_and_equal_ones_are_left_out(tiny, reward, place):
    made = trainer_of(tiny, reward, place())
    pairs = [[6, EOS], [7, EOS], [8, EOS], [9, EOS], [10, EOS], [11, EOS], [12, EOS], [12, EOS]]
    found = made.compared(answered(pairs, [0.5, 1.0, 2.0, -1.0, 1.0, 1.0, 0.3, 0.4]))
    assert [(c.answers[0].response[0], c.judgements[0].chosen) for c in found] == [(6, 1), (8, 0)]
    assert all(c.judgements[0].rejected == 1 - c.judgements[0].chosen for c in found)
    told = made._of_answers(answered(pairs, [0.0] * 8), {}, 0)
    assert told["objective/ties"] == 1.0 and "objective/kl" not in told


def test_a_missing_end_costs_before_answers_are_compared(tiny, reward, place):
    made = trainer_of(tiny, reward, place(), missing_eos_penalty=1.5)
    made.reward = Rule()
    rows = [Encoded([2, 5, 3], [LIKES, 8]), Encoded([2, 5, 3], [8, EOS])]
    seen = made._scored(rows, [PROMPTS[0]] * 2)
    assert seen.paid.tolist() == [1.0 - 1.5, 0.0]
    assert seen.scores.total.tolist() == [1.0, 0.0]
    assert made.compared(seen)[0].judgements[0].chosen == 1


def test_a_steps_loss_by_definition_at_the_temperature_of_sampling(tiny, reward, place):
    made = trainer_of(tiny, reward, place(), temperature=0.7, beta=0.5)
    fill(made.roles, "policy", 5, std=0.05)
    pairs = [[6, 9, EOS], [7, EOS], [8, EOS], [9, 10, 11, EOS]]
    seen = answered(pairs, [0.5, 1.0, 2.0, -1.0])

    def alone(role, row):
        with torch.no_grad(), made.roles.acting(role):
            logits = made.base.model(input_ids=torch.tensor([row.ids])).logits[0].double() / 0.7
        logprobs = logits.log_softmax(-1)
        return sum(logprobs[len(row.prompt) + i - 1, t] for i, t in enumerate(row.response))

    gains = [alone("policy", row) - alone(None, row) for row in seen.rows]
    losses = [-logsigmoid(0.5 * (gains[1] - gains[0])), -logsigmoid(0.5 * (gains[2] - gains[3]))]
    made.hold(made.compared(seen), [])
    found = made._gradients([0, 1])
    assert found["loss"] == pytest.approx(float(sum(losses) / 2), abs=1e-5)
    told = made._of_answers(seen, found, 2)
    assert told["objective/kl"] == pytest.approx(float(sum(gains)) / 4, abs=1e-5)


def test_what_a_reward_likes_is_learned(tiny, reward, place):
    made = trainer_of(tiny, reward, place(), steps=30, batch_size=8, watch_every=0)
    made.reward = Rule()
    events = [event for event in made.run() if isinstance(event, Progress)]
    first, last = events[0].metrics, events[-1].metrics
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert first["objective/kl"] == pytest.approx(0.0, abs=1e-6)
    assert last["objective/scores"] > first["objective/scores"] + 1.0
    assert last["objective/kl"] > 0.1 and 0.0 <= last["objective/ties"] < 1.0
    assert last["episode"] == 30 * 16


def test_where_all_are_ties_nothing_moves(tiny, reward, place):
    class Same(Rule):
        def scores(self, read, *, tokens):
            return RewardScores(torch.zeros(len(read)), {})

    made = trainer_of(tiny, reward, place(), missing_eos_penalty=0.0)
    made.reward = Same()
    before = [p.detach().clone() for p in made.optimiser.parameters]
    told = metrics(list(made.run()))
    assert [row["objective/ties"] for row in told] == [1.0] * 4
    assert all("loss" not in row for row in told)
    for parameter, was in zip(made.optimiser.parameters, before, strict=True):
        assert torch.equal(parameter, was)


def test_gold_scores_of_all_answers_and_watched_rows(tiny, reward, place):
    made = trainer_of(tiny, reward, place(), judge=lambda prompt, text: float(len(text)))
    events = [event for event in made.run() if isinstance(event, Progress)]
    assert [event.step for event in events if event.samples] == [1, 3, 4]
    for event in events:
        assert event.metrics["objective/gold"] >= 0
        assert all({"score", "gold", "kl"} <= row.keys() for row in event.samples)


def test_beta_and_the_rate_are_steered(tiny, reward, place):
    controls = Steering(changes={2: {"beta": 0.5, "learning_rate": 0.0}})
    events = train(tiny, reward, place(controls=controls))
    assert [row["beta"] for row in metrics(events)] == [0.1, 0.5, 0.5, 0.5]
    assert [row["learning_rate"] for row in metrics(events)][1:] == [0.0] * 3


def test_stopped_at_any_safe_point_and_resumed_it_is_the_same_run(tiny, reward, place):
    whole = place("whole")
    expected = metrics(train(tiny, reward, whole))
    for stop_at in (2, 7, 11, 16, 21):
        where = place(f"stop{stop_at}", Steering(stop_at=stop_at))
        first = metrics(train(tiny, reward, where))
        rest = metrics(train(tiny, reward, place(f"stop{stop_at}")))
        assert first + rest == expected
        assert bytes_of(where.folder / "final") == bytes_of(whole.folder / "final")


def test_resumed_from_a_checkpoint_it_is_the_same_run(tiny, reward, place):
    where = place()
    expected = metrics(train(tiny, reward, where, checkpoint_every=1, keep_checkpoints=9))
    before = bytes_of(where.folder / "final")
    forget_after(where.folder, 2)
    assert metrics(train(tiny, reward, where, checkpoint_every=1)) == expected[2:]
    assert bytes_of(where.folder / "final") == before


def test_memory_that_runs_out_changes_nothing(tiny, reward, place, monkeypatch):
    expected = metrics(train(tiny, reward, place("whole")))
    real, failed = module.OnlineDPOTrainer._compare, []

    def scarce(self, group):
        if not failed and len(group) > 1:
            failed.append(1)
            raise torch.OutOfMemoryError("injected")
        return real(self, group)

    monkeypatch.setattr(module.OnlineDPOTrainer, "_compare", scarce)
    events = train(tiny, reward, place("scarce"))
    assert any("memory ran out" in e.message for e in events if isinstance(e, Notice))
    for mine, its in zip(expected, metrics(events), strict=True):
        assert its == pytest.approx(mine, abs=1e-4)


def test_final_loads_with_transformers_and_peft_alone(tiny, reward, place):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    where = place()
    made = trainer_of(tiny, reward, where)
    list(made.run())
    final = where.folder / "final"
    policy = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(str(tiny)), str(final)
    ).eval()
    ids = torch.tensor([[2, 5, 3, 6, 7]])
    with torch.no_grad(), made.roles.acting("policy"):
        expected = made.base.model(input_ids=ids).logits
        torch.testing.assert_close(policy(input_ids=ids).logits, expected, atol=1e-4, rtol=1e-4)
    card = (final / "README.md").read_text()
    assert "A policy trained by online DPO" in card and "objective/scores" in card


def test_what_it_needs(tiny, reward, place):
    with pytest.raises(DataError, match="no prompt"):
        trainer_of(tiny, reward, place(), prompts=[])
    with pytest.raises(ModelError):
        trainer_of(tiny, str(Path(tiny)), place("no"))


# --------------------------------------------------------------- a person in the reward's place


class Likes:
    """A person who thinks as :class:`Rule` does, and judges one pair at each look."""

    def __init__(self, monkeypatch):
        self.trainer, self.looks = None, 0
        monkeypatch.setattr(module.time, "sleep", self.judge)

    def judge(self, _):
        self.looks += 1
        store = self.trainer.person.store
        session = LabelSession(store.queue(), store, annotator="ada")
        shown = session.current()
        word = self.trainer.encoder.decode([LIKES])
        left, right = (
            side[-1]["content"].split().count(word) for side in (shown.left, shown.right)
        )
        session.choose("tie" if left == right else "left" if left > right else "right")
        session.close()


@pytest.fixture
def likes(monkeypatch):
    return Likes(monkeypatch)


def judged_by(likes, tiny, where, **changes):
    likes.trainer = trainer_of(tiny, "person", where, missing_eos_penalty=0.0, **changes)
    return list(likes.trainer.run())


def test_a_person_who_thinks_as_the_reward_does_teaches_the_same(tiny, reward, place, likes):
    paid = trainer_of(tiny, reward, place("paid"), missing_eos_penalty=0.0)
    paid.reward = Rule()
    expected = metrics(list(paid.run()))
    told = metrics(judged_by(likes, tiny, place("judged")))
    assert likes.looks > 0 and all("objective/scores" not in row for row in told)
    own = {"objective/scores", "objective/scores_std"}
    assert [{k: v for k, v in row.items() if k not in own} for row in expected] == told
    card = (place("judged").folder / "final" / "README.md").read_text()
    assert "a person" in card


def test_it_says_what_it_waits_for(tiny, place, likes):
    phases = []
    where = replace(place(), tell=phases.append)
    judged_by(likes, tiny, where, steps=1)
    waits = [phase for phase in phases if phase.name == "waiting for labels"]
    assert {phase.unit for phase in waits} == {"pairs"} and waits[0].total == likes.looks
    assert [phase.done for phase in waits] == sorted(phase.done for phase in waits)


def test_stopped_while_it_waits_it_asks_for_the_rest_and_is_the_same_run(tiny, place, likes):
    whole = place("whole")
    expected = metrics(judged_by(likes, tiny, whole))
    asked = likes.looks
    for stop_at in (5, 8, 12, 17, 23):
        likes.looks, name = 0, f"stop{stop_at}"
        first = metrics(judged_by(likes, tiny, place(name, Steering(stop_at=stop_at))))
        rest = metrics(judged_by(likes, tiny, place(name)))
        assert first + rest == expected
        assert likes.looks == asked  # nobody is asked twice
        assert bytes_of(place(name).folder / "final") == bytes_of(whole.folder / "final")


def test_several_processes_cannot_wait_for_one_person(tiny, place):
    made = trainer_of(tiny, "person", place())
    made.team.count = 2
    with pytest.raises(ConfigError, match="several processes"):
        made._person()

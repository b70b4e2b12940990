import math
from pathlib import Path

import pytest
import torch

from workbench.errors import ModelError
from workbench.models.encoding import Encoded
from workbench.models.roles import Roles
from workbench.settings import PPOSettings
from workbench.training import batch_jobs
from workbench.training.ppo import ppo

from ..models.tiny import EOS, assistant, load, make_model, tiny_settings, user
from .conftest import PROMPTS, fill


def settings(**changes):
    return tiny_settings(PPOSettings, **{"response_length": 8, "batch_size": 4, **changes})


@pytest.fixture(scope="module")
def trained(tiny, tuned, reward, tmp_path_factory):
    """A PPO run that started from an SFT adapter, and had no learning rate: it is its start."""
    folder = tmp_path_factory.mktemp("ppo")
    few = settings(steps=1, learning_rate=0.0, value_learning_rate=0.0, epochs=1, watch_every=0)
    list(ppo.PPOTrainer(tuned, reward, PROMPTS, few, ppo.Place(folder)).run())
    return str(folder / "final")


def test_answers_come_by_model_prompt_and_number(tiny, tuned):
    told = []
    found = batch_jobs.answers(
        [str(tiny), tuned], PROMPTS, settings(), responses=3, tell=lambda *row: told.append(row)
    )
    assert [len(model) for model in found] == [6, 6]
    assert {len(rows) for model in found for rows in model} == {3}
    for row in (row for model in found for rows in model for row in rows):
        assert set(row) == {"text", "ended", "tokens"}
        assert 1 <= row["tokens"] <= 8
        assert row["ended"] or row["tokens"] == 8
        assert len(row["text"].split()) <= row["tokens"] - row["ended"]
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert {total for _, total, _ in told} == {12}
    first, second = tiny.name, Path(tuned).name
    assert told[0] == (0, 12, f"loading {first}, {second}")  # both stand on one base
    assert (6, 12, f"answers of {first}") in told
    assert told[-1] == (12, 12, f"answers of {second}")
    assert found[0] != found[1]


def test_the_same_model_twice_says_the_same(tiny):
    """The same random numbers for every model: what differs is the model."""
    one, other = batch_jobs.answers([str(tiny)] * 2, PROMPTS, settings())
    assert one == other
    (again,) = batch_jobs.answers([str(tiny)], PROMPTS, settings())
    assert again == one
    assert batch_jobs.answers([str(tiny)], PROMPTS, settings(seed=1)) != [one]


def test_models_on_one_base_share_it(tiny, tuned, tmp_path, monkeypatch):
    other = make_model(tmp_path / "other", seed=9)
    loaded = []
    real = batch_jobs.load_base
    monkeypatch.setattr(
        batch_jobs, "load_base", lambda s, given: loaded.append(s.base) or real(s, given)
    )
    found = batch_jobs.answers([str(tiny), str(other), tuned], PROMPTS, settings())
    assert sorted(loaded) == sorted([str(tiny), str(other)])
    assert found[1] == batch_jobs.answers([str(other)], PROMPTS, settings())[0]
    assert found[2] == batch_jobs.answers([tuned], PROMPTS, settings())[0]


def test_the_kl_of_a_base_from_itself_is_zero(tiny):
    (found,) = batch_jobs.answers([str(tiny)], PROMPTS, settings(), with_kl=True)
    assert [row["kl"] for rows in found for row in rows] == [0.0] * 6


def test_kl_is_from_what_the_policy_started_from(tuned, trained):
    """The PPO run did not move: it is 0 from the SFT adapter, and far from the bare base."""
    sft, policy = batch_jobs.answers([tuned, trained], PROMPTS, settings(), with_kl=True)
    assert [row["text"] for rows in policy for row in rows] == [
        row["text"] for rows in sft for row in rows
    ]
    assert [row["kl"] for rows in policy for row in rows] == pytest.approx([0.0] * 6, abs=1e-6)
    assert min(row["kl"] for rows in sft for row in rows) > 0.01  # from the base it stands on


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("tokens", [4096, 16])
def test_the_kl_is_exact_over_the_vocabulary(tiny, temperature, tokens):
    roles = Roles(load(tiny), settings())
    roles.add("policy", trainable=False)
    fill(roles, "policy", 4)
    rows = [Encoded([2, 5, 3], [6, 7, EOS]), Encoded([2, 8, 9, 3], [10])]
    given = settings(temperature=temperature, micro_batch_tokens=tokens)
    found = batch_jobs.exact_response_kl(roles, "policy", rows, given)
    for row, kl in zip(rows, found, strict=True):
        log_p = []
        for role in ("policy", None):
            with torch.no_grad(), roles.acting(role):
                logits = roles.base.model(input_ids=torch.tensor([row.ids])).logits[0].double()
            states = logits[len(row.prompt) - 1 : -1] / temperature
            log_p.append(torch.log_softmax(states, dim=1))
        exact = float((log_p[0].exp() * (log_p[0] - log_p[1])).sum())
        assert float(kl) == pytest.approx(exact, rel=1e-4, abs=1e-5)
        assert exact > 0.01


def test_scores_are_normalised_and_in_order(reward):
    texts = ["a b", "good", "c d e"]
    (found,) = batch_jobs.scores(reward, PROMPTS[:3], texts, settings())
    alone = [
        batch_jobs.scores(reward, [p], [t], settings())[0][0]
        for p, t in zip(PROMPTS[:3], texts, strict=True)
    ]
    assert found == pytest.approx(alone, abs=1e-5)
    roles = Roles(load(str(batch_jobs.resolve(reward).base)), settings())
    roles.add("reward", trainable=False, source=batch_jobs.resolve(reward).adapter)
    with torch.no_grad(), roles.acting("reward"):
        ids = roles.base.tokenizer("<user> a b <assistant> a b <eos>")["input_ids"]
        hidden = roles.base.trunk(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
    raw = float(hidden @ roles.heads["reward"].weight[0])
    assert found[0] == pytest.approx((raw - 0.25) / 1.5, abs=1e-5)


def test_an_answer_that_is_too_long_has_no_score(reward):
    (found,) = batch_jobs.scores(reward, PROMPTS[:2], [" ".join("a" * 40), "a"], settings())
    assert math.isnan(found[0])
    assert math.isfinite(found[1])


def test_nothing_but_too_long_answers_is_no_fault(reward):
    ((found,),) = batch_jobs.scores(reward, PROMPTS[:1], [" ".join("a" * 40)], settings())
    assert math.isnan(found)


def test_a_conversation_may_be_a_prompt(reward):
    turns = [*user("a"), *assistant("b"), *user("c")]
    assert len(batch_jobs.scores(reward, [turns], ["a"], settings())[0]) == 1


def test_what_scores_cannot_answer_and_what_answers_cannot_score(tiny, reward):
    with pytest.raises(ModelError, match="scores answers and gives none"):
        batch_jobs.answers([reward], PROMPTS, settings())
    with pytest.raises(ModelError, match="not a reward model"):
        batch_jobs.scores(str(tiny), PROMPTS[:1], ["a"], settings())

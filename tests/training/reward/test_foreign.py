"""Reward models from elsewhere: PEFT and TRL's adapters, and whole sequence classifiers."""

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification

from workbench.errors import ModelError
from workbench.events import Finished, Notice
from workbench.models.encoding import Encoder
from workbench.models.roles import Roles
from workbench.models.source import resolve
from workbench.settings import PPOSettings, RewardSettings
from workbench.training.batch_jobs import scores as evaluate
from workbench.training.ppo import ppo
from workbench.training.reward import reward
from workbench.training.reward.scorer import Scorer

from ...models.encoders import make_classifier, make_encoder_classifier
from ...models.tiny import assistant, load, make_model, tiny_settings, user
from ..conftest import PROMPTS, make_adapter
from .test_reward import ROWS

ANSWERS = ["a b", "good", "c d e"]


def as_trl_leaves_it(folder, base, **config):
    """An adapter on a classifier, as RewardTrainer saves it: LoRA, and the head whole."""
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(str(base), num_labels=1)
    given = {"task_type": "SEQ_CLS", "r": 4, "target_modules": "all-linear", **config}
    peft = get_peft_model(model, LoraConfig(**given))
    with torch.no_grad():
        for name, parameter in peft.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    peft.save_pretrained(str(folder))
    return peft.eval(), folder


def raw_scores(model, base):
    """Of the answers, one by one, by transformers alone."""
    encoder = Encoder(load(base), max_length=32, template={})
    rows = [encoder.pair(p, assistant(a)).ids for p, a in zip(PROMPTS[:3], ANSWERS, strict=True)]
    with torch.no_grad():
        return [float(model(input_ids=torch.tensor([row])).logits[0, 0]) for row in rows]


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj"]])
def test_an_adapter_from_trl_scores_here_as_there(tiny, tmp_path, targets):
    model, folder = as_trl_leaves_it(tmp_path / "a", tiny, target_modules=targets)
    assert resolve(str(folder)).is_reward
    found = evaluate(str(folder), PROMPTS[:3], ANSWERS, tiny_settings())
    assert found == [pytest.approx(raw_scores(model, tiny), abs=1e-5)]


def test_it_trains_a_policy_and_its_scores_are_taken_as_they_are(tiny, tmp_path, place):
    _, folder = as_trl_leaves_it(tmp_path / "a", tiny)
    few = tiny_settings(PPOSettings, steps=1, batch_size=2, response_length=4)
    events = list(ppo.PPOTrainer(str(tiny), str(folder), PROMPTS, few, place()).run())
    assert isinstance(events[-1], Finished)
    told = [e.message for e in events if isinstance(e, Notice) and e.kind == "warning"]
    assert any("no reward.json: its scores are taken as they are" in text for text in told)


def test_an_adapter_saved_without_its_head_is_refused(tiny, tmp_path):
    """What a LoraConfig without a task type leaves, had it called itself a reward model."""
    _, folder = as_trl_leaves_it(tmp_path / "a", tiny, task_type=None, exclude_modules=["score"])
    with pytest.raises(ModelError, match="not a reward model"):
        evaluate(str(folder), PROMPTS[:1], ["a"], tiny_settings())
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "task_type": "SEQ_CLS"}))
    with pytest.raises(ModelError, match="saved without its head") as caught:
        evaluate(str(folder), PROMPTS[:1], ["a"], tiny_settings())
    assert caught.value.where == str(folder) and "SEQ_CLS" in caught.value.fix


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_a_whole_classifier_scores_here_as_there(tiny, tmp_path, quantization):
    folder = make_classifier(tmp_path / "m", tiny)
    source = resolve(str(folder))
    assert source.is_reward and not source.is_measured
    found = evaluate(str(folder), PROMPTS[:3], ANSWERS, tiny_settings(quantization=quantization))
    model = load(folder, quantization).model
    assert found == [pytest.approx(raw_scores(model, tiny), abs=1e-5)]


def test_a_whole_classifier_learns_on_from_its_head(tiny, tmp_path, place):
    folder, where = make_classifier(tmp_path / "m", tiny), place()
    before = evaluate(str(folder), PROMPTS[:3], ANSWERS, tiny_settings())
    few = tiny_settings(RewardSettings, steps=1, batch_size=4, learning_rate=0.0, holdout=0.0)
    list(reward.RewardTrainer(str(folder), ROWS, few, where).run())
    after = evaluate(str(where.folder / "final"), PROMPTS[:3], ANSWERS, tiny_settings())
    stats = json.loads((where.folder / "final" / "reward.json").read_text())
    raw = [score * stats["std"] + stats["mean"] for score in after[0]]
    assert raw == pytest.approx(before[0], abs=1e-5)


@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_a_whole_classifier_beside_the_policys_base(tiny, tmp_path, place, kind):
    if kind == "decoder":
        folder = make_classifier(tmp_path / "m", tiny)
    else:
        folder = make_encoder_classifier(tmp_path / "m")
    few = tiny_settings(PPOSettings, steps=1, batch_size=2, response_length=4)
    made = ppo.PPOTrainer(str(tiny), str(folder), PROMPTS, few, place())
    assert not made.scorer.shares_base and made.scorer.base.encoder == (kind == "encoder")
    prompts = made._draw()
    rows, messages = made.sample(prompts), [prompt.messages for prompt in prompts]
    rows = [r._replace(response=[*r.response, made.encoder.eos]) for r in rows]
    seen = made._measured(rows, messages, [[0, 1]])
    texts = [made.encoder.decode(row.response) for row in rows]
    (expected,) = evaluate(str(folder), messages, texts, tiny_settings())
    assert seen.scores.tolist() == pytest.approx(expected, abs=1e-4)
    assert isinstance(list(made.run())[-1], Finished)


# --- a base of the same shape ------------------------------------------------------------------


def test_a_reward_model_on_another_base_of_the_same_shape_is_refused(tiny, tmp_path):
    """As if the folder of its base had been replaced by another model."""
    base = make_model(tmp_path / "base", seed=1)
    theirs = make_adapter(tmp_path / "reward", base, 5, reward=True)
    Scorer.attach(str(theirs), Roles(load(base), tiny_settings()), tiny_settings())
    make_model(base, seed=2)
    with pytest.raises(ModelError, match="made for another base") as caught:
        Scorer.attach(str(theirs), Roles(load(base), tiny_settings()), tiny_settings())
    assert "same shape" in caught.value.where and caught.value.fix


def test_an_adapter_without_a_fingerprint_is_taken_on_trust(tmp_path):
    base = make_model(tmp_path / "base", seed=1)
    theirs = make_adapter(tmp_path / "reward", base, 5, reward=True)
    card = json.loads((theirs / "workbench.json").read_text())
    assert len(card.pop("fingerprint")) == 32
    (theirs / "workbench.json").write_text(json.dumps(card))
    make_model(base, seed=2)
    Scorer.attach(str(theirs), Roles(load(base), tiny_settings()), tiny_settings())


def test_prompts_are_read_as_the_policy_writes_them(tiny, reward):
    """Item 4: the reward model and PPO see the same ids of a prompt and an answer."""
    own = Encoder(load(tiny), max_length=32, template={})
    scorer = Scorer.attach(reward, Roles(load(tiny), tiny_settings()), tiny_settings())
    theirs = scorer.encoder(tiny_settings())
    assert theirs.answers(user("a b"), [assistant("c")]) == own.answers(
        user("a b"), [assistant("c")]
    )

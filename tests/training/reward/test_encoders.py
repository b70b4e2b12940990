"""Reward models on encoders (BERT and its kin), which transformers reads by their own heads."""

import json
import math

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig

from workbench.errors import ModelError
from workbench.events import Notice
from workbench.models.base import guard_cpu_4bit, kept_in_full
from workbench.models.encoding import Encoder
from workbench.settings import RewardSettings, SFTSettings
from workbench.training import sft
from workbench.training.batch_jobs import scores as evaluate
from workbench.training.reward import reward

from ...models.encoders import CLS, KINDS, NAMES, SEP, make_encoder, make_encoder_classifier
from ...models.tiny import WORDS, assistant, load, tiny_settings, user
from ..conftest import bytes_of, metrics

LETTERS = "abcdefghijklmnop"
ROWS = [
    {
        "prompt": user(f"a {letter}"),
        "chosen": assistant(f"{letter} good"),
        "rejected": assistant(f"bad {letter}"),
    }
    for letter in LETTERS
]
TEXTS = [("a b", "c good"), ("d", "bad a b c d e f"), ("e f g", "h")]


def settings(**changes):
    few = {"steps": 12, "batch_size": 8, "learning_rate": 1e-2, "holdout": 0.25, "max_length": 24}
    return tiny_settings(RewardSettings, **{**few, **changes})


@pytest.fixture(scope="module", params=sorted(KINDS))
def encoder(request, tmp_path_factory):
    return make_encoder(tmp_path_factory.mktemp("encoder") / request.param, request.param)


def alone(base, final, quantization):
    """The reward model by transformers and peft only, and its tokenizer."""
    extra = {}
    if quantization == "nf4":
        card = json.loads((final / "workbench.json").read_text())
        extra["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
            llm_int8_skip_modules=card["kept_in_full"],
        )
    model = AutoModelForSequenceClassification.from_pretrained(
        str(base), num_labels=1, dtype=torch.float32, **extra
    )
    guard_cpu_4bit(model)
    return PeftModel.from_pretrained(model, str(final)).eval(), AutoTokenizer.from_pretrained(final)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_trained_saved_and_read_by_transformers_and_peft_alone(encoder, place, quantization):
    """The natural way to score there, ``tokenizer(prompt, answer)``, gives the same raw scores."""
    where = place()
    few = settings(quantization=quantization)
    events = list(reward.RewardTrainer(str(encoder), ROWS, few, where).run())
    found = metrics(events)
    assert found[-1]["loss"] < 0.4 < found[0]["loss"]
    told = [e.message for e in events if isinstance(e, Notice)]
    assert any("each answer goes through the model by itself" in text for text in told)
    final = where.folder / "final"
    stats = json.loads((final / "reward.json").read_text())
    prompts, answers = [user(p) for p, _ in TEXTS], [a for _, a in TEXTS]
    (ours,) = evaluate(str(final), prompts, answers, few)
    model, tokenizer = alone(encoder, final, quantization)
    given = tokenizer(
        [p for p, _ in TEXTS], answers, padding=True, return_tensors="pt", padding_side="right"
    )
    with torch.no_grad():
        raw = model(**given).logits[:, 0]
    assert [score * stats["std"] + stats["mean"] for score in ours] == pytest.approx(
        raw.tolist(), abs=1e-5
    )


def test_the_head_is_drawn_by_its_seed_and_trained(encoder, place):
    trainers = [
        reward.RewardTrainer(str(encoder), ROWS, settings(seed=seed, head_start="classic"), place())
        for seed in (0, 0, 1)
    ]
    heads = [t.roles.weights("reward")[-2].detach().clone() for t in trainers]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
    expected = torch.randn(1, 64, generator=torch.Generator().manual_seed(1)) / 65**0.5
    assert torch.equal(heads[2], expected)
    before = [w.detach().clone() for w in trainers[0].roles.weights("reward")]
    for _ in range(2):  # at the first step what is behind an adapter's B, still 0, has no gradient
        trainers[0].train_step()
    now = trainers[0].roles.weights("reward")
    assert not any(torch.equal(a, b) for a, b in zip(before, now, strict=True))
    frozen = [p for p in trainers[0].base.model.parameters() if not p.requires_grad]
    assert len(frozen) > len(now)


def test_a_new_head_starts_at_ln_2_and_all_of_it_learns(encoder, place):
    trainer = reward.RewardTrainer(str(encoder), ROWS, settings(), place())
    before = [w.detach().clone() for w in trainer.roles.weights("reward")]
    assert trainer.train_step().metrics["loss"] == pytest.approx(math.log(2), abs=1e-6)
    trainer.train_step()  # at the first step nothing behind the head, still 0, has a gradient
    trainer.train_step()
    now = trainer.roles.weights("reward")
    assert not any(torch.equal(a, b) for a, b in zip(before, now, strict=True))


def test_members_have_heads_of_their_own(encoder, place):
    where = place()
    list(reward.RewardTrainer(str(encoder), ROWS, settings(steps=2, members=2), where).run())
    for index in range(2):
        own = place(str(index))
        list(reward.RewardTrainer(str(encoder), ROWS, settings(steps=2, seed=index), own).run())
        final = where.folder / "final" / f"member-{index}"
        assert bytes_of(own.folder / "final") == bytes_of(final)


def test_a_trained_classifier_scores_as_it_is_and_learns_on(tmp_path, place):
    folder = make_encoder_classifier(tmp_path / "m")
    model = AutoModelForSequenceClassification.from_pretrained(str(folder)).eval()
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    with torch.no_grad():
        raw = [float(model(**tokenizer(*t, return_tensors="pt")).logits) for t in TEXTS]
    prompts, answers = [user(p) for p, _ in TEXTS], [a for _, a in TEXTS]
    assert evaluate(str(folder), prompts, answers, settings()) == [pytest.approx(raw, abs=1e-5)]
    where = place()
    list(reward.RewardTrainer(str(folder), ROWS, settings(steps=1, learning_rate=0.0), where).run())
    stats = json.loads((where.folder / "final" / "reward.json").read_text())
    (found,) = evaluate(str(where.folder / "final"), prompts, answers, settings())
    assert [s * stats["std"] + stats["mean"] for s in found] == pytest.approx(raw, abs=1e-5)


def test_two_texts_and_their_special_tokens(tmp_path):
    base = load(make_encoder(tmp_path / "m"))
    encoder = Encoder(base, max_length=8, template={})
    a, b, c = (len(NAMES) + WORDS.index(w) for w in "abc")
    (row,) = encoder.answers(user("a b"), [assistant("c")])
    assert (row.prompt, row.response) == ([CLS, a, b, SEP], [c, SEP])
    assert base.tokenizer("a b", "c")["input_ids"] == row.ids
    (row,) = encoder.answers(user("a b a b a b"), [assistant("c c")])  # the prompt loses its start
    assert row.ids == [CLS, b, a, b, SEP, c, c, SEP] and encoder.shortened == 1
    assert encoder.answers(user("a"), [assistant("c c c c c")]) == [None]
    turns = [*user("a"), *assistant("b"), *user("c")]
    ids = Encoder(base, max_length=32, template={}).prompt(turns, room=1)
    assert base.tokenizer.decode(ids[1:-1]) == base.tokenizer.decode(
        base.tokenizer("User: a\n\nAssistant: b\n\nUser: c", add_special_tokens=False)["input_ids"]
    )


def test_the_head_stays_out_of_4_bits(encoder):
    base = load(encoder, "nf4")
    assert base.quantization == "nf4"
    names = kept_in_full(base.model.config)
    inside = [m for n in names for m in base.model.get_submodule(n).modules()]
    assert inside and not any(hasattr(m, "support_avx512bf16_for_cpu") for m in inside)


def test_an_encoder_gives_no_answers(tmp_path, place):
    folder = str(make_encoder(tmp_path / "m"))
    with pytest.raises(ModelError, match="gives no answers") as caught:
        list(sft.SFTTrainer(folder, [{"text": "a"}], tiny_settings(SFTSettings), place()).run())
    assert caught.value.where == folder and "causal" in caught.value.fix


def test_more_than_one_label_is_no_reward(tmp_path):
    folder = make_encoder_classifier(tmp_path / "m", num_labels=3)
    with pytest.raises(ModelError, match="tells 3 classes apart") as caught:
        load(folder)
    assert caught.value.where == str(folder) and "num_labels=1" in caught.value.fix

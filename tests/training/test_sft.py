import json
import math

import pytest
import torch
from safetensors.torch import load as parse
from transformers import AutoModelForCausalLM

from workbench.errors import ConfigError, DataError, ModelError
from workbench.events import Finished, Notice, Progress
from workbench.models.fast import on_card
from workbench.models.source import CARD, resolve
from workbench.settings import SFTSettings
from workbench.training import sft

from ..models.tiny import (
    ASSISTANT,
    EOS,
    TEMPLATE,
    USER,
    assistant,
    load,
    make_model,
    tiny_settings,
    user,
    word,
)
from .conftest import bytes_of, metrics

A, B, C = word("a"), word("b"), word("c")
ROWS = [
    {"prompt": user(f"say {w}"), "response": assistant(f"{w} {w}")} for w in ("a", "b", "c", "d")
]
TEXTS = [{"text": "a b c d e f g h"}, {"text": "a b c d i j"}]


def settings(**changes):
    few = {"steps": 6, "batch_size": 4, "learning_rate": 2e-2, "schedule": "constant"}
    return tiny_settings(SFTSettings, **{**few, **changes})


def losses(events):
    return [row["loss"] for row in metrics(events)]


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_instructions_are_learned(tiny, place, quantization):
    events = list(
        sft.SFTTrainer(str(tiny), ROWS, settings(quantization=quantization), place()).run()
    )
    found = losses(events)
    assert found[-1] < 0.5 * found[0]
    assert isinstance(events[-1], Finished)


@pytest.mark.parametrize("rank", [4, 0], ids=["adapter", "whole"])
def test_without_padding_as_on_a_card_it_learns_the_same(tiny, place, monkeypatch, rank):
    found = []
    for cards in ((), ("cpu",)):
        trainer = sft.SFTTrainer(str(tiny), ROWS, settings(lora_rank=rank), place(str(len(found))))
        monkeypatch.setattr(on_card, "CARDS", frozenset(cards))
        loss = trainer._nll(trainer.examples)
        loss.backward()
        gradients = [weight.grad for weight in trainer.optimiser.parameters]
        found.append([loss.detach(), *gradients])
    assert any(float(gradient.abs().max()) > 1e-3 for gradient in found[0][1:])
    for card, plain in zip(found[1], found[0], strict=True):
        assert float((card - plain).norm()) <= 1e-5 * float(plain.norm()) + 1e-7


def test_texts_are_learned(tiny, place):
    events = list(sft.SFTTrainer(str(tiny), TEXTS, settings(max_length=8), place()).run())
    assert losses(events)[-1] < 0.5 * losses(events)[0]


def test_the_first_loss_is_the_mean_surprise_of_the_answers_tokens(tiny, place):
    """By definition from the untrained model: prompts do not count, EOS does."""
    rows = [
        {"prompt": user("a"), "response": assistant("b")},
        {"prompt": user("a b c"), "response": assistant("c a b")},
    ]
    surprises = []
    for prompt, answer in (([2, A, 3], [B, EOS]), ([2, A, B, C, 3], [C, A, B, EOS])):
        logits = load(tiny).model(input_ids=torch.tensor([prompt + answer])).logits[0]
        log_p = torch.log_softmax(logits.double(), dim=1)
        surprises += [-float(log_p[len(prompt) - 1 + i, t]) for i, t in enumerate(answer)]
    (row,) = metrics(
        list(sft.SFTTrainer(str(tiny), rows, settings(steps=1, batch_size=2), place()).run())
    )
    assert row["loss"] == pytest.approx(sum(surprises) / 6, abs=1e-5)
    assert row["perplexity"] == pytest.approx(math.exp(row["loss"]), rel=1e-6)


def test_micro_batches_change_no_number(tiny, place):
    whole, split = (
        list(
            sft.SFTTrainer(
                str(tiny), ROWS, settings(steps=3, micro_batch_tokens=size), place(str(size))
            ).run()
        )
        for size in (4096, 16)
    )
    for one, other in zip(metrics(whole), metrics(split), strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_texts_are_joined_by_eos_and_cut_into_blocks(tiny):
    """a b EOS c a b EOS in blocks of 4; the first token of a block is not learned."""
    base = load(tiny)
    rows = [{"text": "a b"}, {"text": "c a b"}]
    examples, notices = sft.encode_examples(base, rows, _length(base, 4))
    assert [e.encoded for e in examples] == [([A], [B, EOS, C]), ([A], [B, EOS])]
    assert notices == []


def _length(base, size):
    """Settings below the smallest max_length a person may ask for."""
    found = tiny_settings(SFTSettings)
    object.__setattr__(found, "max_length", size)
    return found


def test_a_last_block_of_one_token_is_left_out(tiny):
    base = load(tiny)
    examples, _ = sft.encode_examples(base, [{"text": "a b c a"}], _length(base, 4))
    assert [e.encoded for e in examples] == [([A], [B, C, A])]


def test_what_does_not_fit_is_counted_and_told(tiny, place):
    long = {"prompt": user("a"), "response": assistant(" ".join("a" * 40))}
    wordy = {"prompt": user(" ".join("a" * 40)), "response": assistant("b")}
    events = list(sft.SFTTrainer(str(tiny), [*ROWS, long, wordy], settings(steps=1), place()).run())
    told = [e.message for e in events if isinstance(e, Notice) and e.kind == "warning"]
    assert told == [
        "1 of 6 prompts were shortened from the left (max_length)",
        "1 of 6 rows were left out: the response fills max_length",
    ]


def test_a_text_as_response_is_one_message(tiny):
    base, rows = load(tiny), [{"prompt": user("a"), "response": "b c"}]
    (example,), _ = sft.encode_examples(base, rows, settings())
    assert example.encoded == ([2, A, 3], [B, C, EOS])


def test_no_usable_row_is_an_error(tiny, place):
    rows = [{"prompt": user("a"), "response": assistant(" ".join("a" * 40))}]
    with pytest.raises(DataError, match="no example is left") as caught:
        sft.SFTTrainer(str(tiny), rows, settings(), place()).run()
    assert "1 rows, max_length = 32" in caught.value.where
    assert "raise max_length" in caught.value.fix


def test_steps_follow_from_epochs(tiny, place):
    events = list(
        sft.SFTTrainer(str(tiny), ROWS, settings(steps=0, epochs=1.5, batch_size=2), place()).run()
    )
    assert [e.step for e in events if isinstance(e, Progress)] == [1, 2, 3]


def test_every_weight_is_trained_where_the_rank_is_zero(tiny, place):
    where = place()
    full = settings(lora_rank=0, learning_rate=3e-3)
    events = list(sft.SFTTrainer(str(tiny), ROWS, full, where).run())
    assert losses(events)[-1] < 0.5 * losses(events)[0]
    before = load(tiny).model.state_dict()
    after = AutoModelForCausalLM.from_pretrained(str(where.folder / "final")).state_dict()
    assert set(after) == set(before)
    assert all(not torch.equal(after[name], before[name]) for name in before)
    assert resolve(str(where.folder / "final")).adapter is None
    card = json.loads((where.folder / "final" / CARD).read_text())
    assert card == {"kind": "sft", "started_from": str(tiny)}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_every_weight_learns_in_half_precision_as_in_float32(tiny, place, dtype):
    """But for the steps that float16 skips until its scale fits."""
    runs: list[list[float]] = []
    skipped = 0
    for name in (dtype, "float32"):
        few = settings(lora_rank=0, learning_rate=5e-4, dtype=name, steps=30)
        made = sft.SFTTrainer(str(tiny), ROWS, few, place(name))
        before = {n: p.detach().clone() for n, p in made.base.model.named_parameters()}
        runs.append(losses(list(made.run())))
        skipped = max(skipped, made.optimiser.skipped)
        assert all(p.isfinite().all() for p in made.base.model.parameters())
        assert all(not torch.equal(p, before[n]) for n, p in made.base.model.named_parameters())
    half, full = runs
    assert skipped < 6 and (skipped == 0 or dtype == "float16")
    assert half[-1] == pytest.approx(full[-1 - skipped], rel=0.15) and half[-1] < 0.5 * half[0]


def test_full_training_of_4_bit_weights_is_refused(tiny, place):
    with pytest.raises(ConfigError, match="4 bits cannot be trained") as caught:
        sft.SFTTrainer(str(tiny), ROWS, settings(lora_rank=0, quantization="nf4"), place()).run()
    assert "lora_rank" in caught.value.where and "quantization" in caught.value.fix


def test_full_training_that_would_drop_an_adapter_is_refused(tuned, place):
    with pytest.raises(ConfigError, match="adapter") as caught:
        sft.SFTTrainer(tuned, ROWS, settings(lora_rank=0), place()).run()
    assert "lora_rank" in caught.value.where and caught.value.fix


def test_a_reward_model_is_no_start_for_a_policy(reward, place):
    with pytest.raises(ModelError, match="reward model") as caught:
        sft.SFTTrainer(reward, ROWS, settings(), place()).run()
    assert caught.value.where == reward and caught.value.fix


def test_it_goes_on_from_an_adapter(tiny, tuned, place):
    """A rate of 0 changes nothing: what comes out is the adapter that went in."""
    where = place()
    list(sft.SFTTrainer(tuned, ROWS, settings(steps=1, learning_rate=0.0), where).run())
    (mine,) = bytes_of(where.folder / "final").values()
    theirs = parse(bytes_of(resolve(tuned).adapter)["adapter_model.safetensors"])
    found = parse(mine)
    assert set(found) == set(theirs)
    assert all(torch.equal(found[name], theirs[name]) for name in found)


def test_only_the_adapter_is_trained(tiny, place):
    trainer = sft.SFTTrainer(str(tiny), ROWS, settings(), place())
    before = {n: p.detach().clone() for n, p in trainer.base.model.named_parameters()}
    trainer.train_step()
    changed = {n for n, p in trainer.base.model.named_parameters() if not torch.equal(p, before[n])}
    assert changed == {n for n in before if "lora_B" in n}  # A moves once B is not 0


def test_what_was_really_loaded_is_told_first(tiny, place):
    events = sft.SFTTrainer(str(tiny), ROWS, settings(steps=1), place()).run()
    setup = next(events)
    assert (setup.kind, setup.step) == ("setup", 0)
    ranks = 4 * (64 + 64) * 4 + 4 * (64 + 128) * 3  # rank x (in + out), 4 square and 3 oblong
    assert setup.data == {
        "base": str(tiny),
        "device": "cpu",
        "dtype": "float32",
        "quantization": "none",
        "trainable": 2 * ranks,
        "micro_batch_tokens": 2048,
        "recomputes": False,
        "learning_rate": 2e-2,
        "heldout_examples": 0,
        "self_test": load(tiny).tested,
    }
    assert setup.data["self_test"]["nats"] <= 1e-4
    assert "from the model's own forward at most (0.0001 allowed)" in setup.message


def test_a_tokenizer_without_a_pad_token_trains_and_is_recorded(tmp_path, place):
    folder = make_model(tmp_path / "m", pad_token=None)
    where = place()
    events = list(sft.SFTTrainer(str(folder), ROWS, settings(), where).run())
    assert losses(events)[-1] < 0.5 * losses(events)[0]
    told = [e.message for e in events if isinstance(e, Notice) and e.kind == "warning"]
    card = json.loads((where.folder / "final" / CARD).read_text())
    assert told == card["notices"]
    assert "no pad token" in told[0]


TURNS = [*user("a"), *assistant("b"), *user("c"), *assistant("d e")]


def test_every_answer_of_a_conversation_is_learned_and_nothing_else(tiny):
    """<user> a <assistant> | b <eos> <user> c <assistant> d e <eos>: b, d, e and both ends."""
    rows = [{"prompt": TURNS[:3], "response": TURNS[3:]}]
    (row,), notices = sft.encode_examples(load(tiny), rows, tiny_settings(SFTSettings))
    b, d, e = word("b"), word("d"), word("e")
    assert row.encoded.prompt == [USER, word("a"), ASSISTANT]
    assert row.encoded.response == [b, EOS, USER, word("c"), ASSISTANT, d, e, EOS]
    assert row.learned == [True, True, False, False, False, True, True, True]
    assert row.response == [b, EOS, d, e, EOS]
    assert notices == ["all 2 answers of 1 conversations are learned"]


def test_the_last_answer_alone_where_asked(tiny):
    rows = [{"prompt": TURNS[:3], "response": TURNS[3:]}]
    settings = tiny_settings(SFTSettings, assistant_turns="last")
    (row,), _ = sft.encode_examples(load(tiny), rows, settings)
    assert row.encoded.response == [word("d"), word("e"), EOS]
    assert row.learned == [True] * 3


def test_of_a_conversation_that_is_too_long_the_last_answer_is_learned_and_told(tiny):
    rows = [{"prompt": TURNS[:3], "response": TURNS[3:]}]
    settings = tiny_settings(SFTSettings, max_length=10)
    (row,), notices = sft.encode_examples(load(tiny), rows, settings)
    assert row.encoded.response == [word("d"), word("e"), EOS]
    assert len(row.encoded.ids) <= 10
    assert any("1 of 1 conversations only the last answer is learned" in n for n in notices)


def test_the_loss_of_a_conversation_is_the_mean_over_its_answers_tokens(tiny, place):
    rows = [{"prompt": TURNS[:3], "response": TURNS[3:]}]
    made = sft.SFTTrainer(str(tiny), rows, tiny_settings(SFTSettings, batch_size=1), place())
    loss = made.train_step().metrics["loss"]
    (row,) = made.examples
    ids = torch.tensor([row.encoded.ids])
    with torch.no_grad():
        surprise = -load(tiny).model(ids).logits[0, :-1].log_softmax(-1)
    at = [3, 4, 8, 9, 10]  # of b, its end, d, e and its end
    expected = sum(float(surprise[n - 1, ids[0, n]]) for n in at) / len(at)
    assert loss == pytest.approx(expected, rel=1e-5)


def test_a_row_that_the_template_refuses_is_named(tmp_path, place):
    refuses = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    )
    base = make_model(tmp_path / "m", chat_template=refuses + TEMPLATE)
    system = {"role": "system", "content": "a"}
    rows = [
        {"prompt": user("a"), "response": "b"},
        {"prompt": [system, *user("a")], "response": "b"},
    ]
    with pytest.raises(DataError, match="no system") as caught:
        sft.SFTTrainer(str(base), rows, tiny_settings(SFTSettings), place())
    assert caught.value.where.startswith("row 2: a conversation of system, user")
    folding = tiny_settings(SFTSettings, fold_system=True)
    made = sft.SFTTrainer(str(base), rows, folding, place())
    a = word("a")
    assert made.examples[1].encoded.prompt == [USER, a, a, ASSISTANT]


@pytest.mark.parametrize(("rank", "large"), [(4, 1e-4), (0, 1e-5)])
def test_an_auto_rate_goes_by_the_width_and_by_what_is_trained(tiny, place, rank, large):
    """Width 64 is a fifth of the way below 128."""
    few = settings(lora_rank=rank, learning_rate="auto", steps=1)
    made = sft.SFTTrainer(str(tiny), ROWS, few, place())
    rate = pytest.approx(2e-4 * (2e-4 / large) ** (1 / 5))
    assert made.optimiser.rates == {"policy": rate}
    assert next(made.run()).data["learning_rate"] == rate
    made.set_live("learning_rate", 0.5)
    made.set_live("learning_rate", "auto")
    assert made.optimiser.rates == {"policy": rate}


def test_one_example_is_looked_at_as_it_is_learned(tiny, place):
    """Its tokens, which of them count, and what the model expects at each, by its own logits."""
    events = list(sft.SFTTrainer(str(tiny), ROWS, settings(learning_rate=0.0), place()).run())
    looks = [row for event in events if isinstance(event, Progress) for row in event.tokens]
    assert len(looks) == 6  # every step of a run this short
    (row,) = {json.dumps(look) for look in looks}  # the same example, and nothing was learned
    look = json.loads(row)
    assert look["learned"] == [True] * len(look["tokens"])
    (spoken,) = [r for r in ROWS if "".join(look["tokens"]).startswith(r["response"][0]["content"])]
    base = load(tiny)
    prompt, answer = sft.encode_examples(base, [spoken], settings())[0][0].encoded
    logits = base.model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0]
    logprobs = logits[len(prompt) - 1 : -1].log_softmax(-1)
    wanted = [float(logprobs[i, token]) for i, token in enumerate(answer)]
    assert look["logprobs"] == pytest.approx(wanted, abs=1e-4)
    for place_, expected in zip(logprobs, look["expected"], strict=True):
        shares = [share for _, share in expected]
        assert shares == pytest.approx(place_.exp().topk(5).values.tolist(), abs=1e-5)


def test_a_long_run_looks_now_and_then(tiny, place):
    events = list(sft.SFTTrainer(str(tiny), ROWS, settings(steps=40), place()).run())
    looked = [event.step for event in events if isinstance(event, Progress) and event.tokens]
    assert looked[:3] == [1, 3, 5] and looked[-1] == 40

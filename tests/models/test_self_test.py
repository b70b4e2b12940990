"""A base is proven before it is used: what holds, what falls back, what is refused."""

import json

import pytest
import torch
from transformers import LlamaForCausalLM

import workbench.models.self_test as module
from workbench.errors import ModelError
from workbench.models.encoding import Encoded
from workbench.models.fast import decoding
from workbench.models.fast.decoding import decoder
from workbench.models.fast.packing_support import packs
from workbench.models.forward import (
    ALONE,
    PACKED,
    PADDED,
    collate,
    lay,
    response_stats,
    sequence_scores,
)
from workbench.models.loaded_base import BOUNDS, Proof
from workbench.models.model_kinds import media_ids
from workbench.models.proof import plain_ids, trial
from workbench.models.self_test import self_test

from .encoders import make_classifier, make_encoder_classifier
from .families import SIZES, make_base, make_family
from .tiny import PAD, load, make_model

ROWS = [Encoded([5, 6, 7], [8, 9, 10, 11]), Encoded([12], [13, 14]), Encoded([5, 6, 7], [15])]


@pytest.fixture(autouse=True)
def forgetful(monkeypatch, tmp_path):
    """Nothing is remembered from test to test, nor in this machine's home."""
    monkeypatch.setattr(module, "_known", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def own(base, row: Encoded):
    logits = base.model(input_ids=torch.tensor([row.ids])).logits[0, len(row.prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(1, torch.tensor(row.response)[:, None])[:, 0]


def test_what_was_loaded_is_proven_and_its_facts_say_so(tiny):
    base = load(tiny)
    assert {name: proof.way for name, proof in base.proofs.items()} == {
        "head": "its output embeddings alone",
        "packing": PACKED,
        "padding": PADDED,
        "decoding": decoding.SLOTS,
    }
    assert all(proof.nats <= 1e-4 and not proof.against for proof in base.proofs.values())
    assert base.notices == []
    assert base.tested["packing"] == PACKED
    assert 0 < base.tested["nats"] <= base.tested["bound"] == 1e-4
    told = json.loads(json.dumps(base.facts["self_test"]))
    assert told["packing"] == {"way": PACKED, "nats": base.proofs["packing"].nats, "against": {}}


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_other_precisions_have_bounds_of_their_own(tiny, dtype):
    base = load(tiny, dtype=dtype)
    assert base.proofs["packing"].way == PACKED
    assert base.proofs["packing"].nats <= BOUNDS[base.dtype]


def test_4_bits_are_held_against_the_same_4_bits(tiny):
    proofs = load(tiny, "nf4").proofs
    assert proofs["packing"].nats <= 1e-4
    assert proofs["decoding"].way == decoding.SLOTS


# --- what falls back


def test_a_model_that_is_not_exact_when_packed_goes_side_by_side(monkeypatch):
    base = make_family("Llama")
    real = base.trunk.forward

    def other(*args, sight=None, **kwargs):
        output = real(*args, sight=sight, **kwargs)
        if sight is not None:
            output.last_hidden_state = output.last_hidden_state * 1.5
        return output

    monkeypatch.setattr(base.trunk, "forward", other)
    batch = lay(ROWS, base)
    why = packs(base.model)
    assert why is not None and PACKED in why and "nats from the model's own forward" in why
    with torch.no_grad():
        stats = response_stats(base, batch, temperature=1.0)
        for found, row in zip(stats.logprobs, ROWS, strict=True):
            torch.testing.assert_close(found[found != 0], own(base, row), rtol=0, atol=1e-5)
    self_test(base)
    (notice,) = base.notices
    assert notice.startswith("sequences go through the model apart: in one row it is")


def crowded(base, monkeypatch):
    """Make rows depend on the width of their batch, as angles by the longest row do."""
    real = base.trunk.forward

    def other(*args, **kwargs):
        output = real(*args, **kwargs)
        ids = kwargs.get("input_ids", *args[:1])
        pads = (ids == PAD).any()
        output.last_hidden_state = output.last_hidden_state * (1.3 if pads else 1.0)
        return output

    monkeypatch.setattr(base.trunk, "forward", other)


def test_rows_that_padding_changes_go_one_by_one(monkeypatch):
    base = make_base("bloom", vocab_size=40, hidden_size=32, n_layer=1, n_head=4, pad_token_id=PAD)
    crowded(base, monkeypatch)
    with torch.no_grad():
        batch = collate(ROWS, base)
        stats = response_stats(base, batch, temperature=1.0)
        for found, row in zip(stats.logprobs, ROWS, strict=True):
            torch.testing.assert_close(found[found != 0], own(base, row), rtol=0, atol=1e-5)
        head = torch.nn.Linear(32, 1, bias=False)
        ends = [
            head(base.trunk(input_ids=torch.tensor([r.ids])).last_hidden_state[0, -1]) for r in ROWS
        ]
        torch.testing.assert_close(sequence_scores(base, head, batch), torch.cat(ends))
    assert base.proofs["padding"].way == ALONE
    self_test(base)
    assert any("one by one" in notice and PADDED in notice for notice in base.notices)


def test_rows_alone_have_their_gradients(monkeypatch):
    base = make_base("bloom", vocab_size=40, hidden_size=32, n_layer=1, n_head=4, pad_token_id=PAD)
    crowded(base, monkeypatch)
    weight = base.model.get_parameter("transformer.h.0.mlp.dense_4h_to_h.weight")
    weight.requires_grad_(True)
    total = response_stats(base, collate(ROWS, base), temperature=1.0).logprobs.sum()
    (found,) = torch.autograd.grad(total, weight)
    (right,) = torch.autograd.grad(sum(own(base, row).sum() for row in ROWS), weight)
    torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-5)


def test_decoding_falls_back_step_by_step():
    """No cache of OpenAI's GPT; RWKV's state is right for a row by itself; Bart counts slots."""
    ways = {}
    for kind, more in (
        ("openai-gpt", {"n_embd": 32, "n_layer": 2, "n_head": 4}),
        ("rwkv", {"attention_hidden_size": 32}),
        ("bart", {"d_model": 32, "decoder_layers": 1, "decoder_ffn_dim": 48}),
        ("mamba", {}),
    ):
        base = make_base(kind, **{**SIZES, **more})
        self_test(base)
        ways[kind] = base.proofs["decoding"].way
        slow = [notice for notice in base.notices if "sampling is slow" in notice]
        assert len(slow) == (kind != "mamba")
    assert ways == {
        "openai-gpt": decoding.WHOLE,
        "rwkv": decoding.BY_ROW,
        "bart": decoding.BY_LENGTH,
        "mamba": decoding.PADDED,
    }


# --- what is refused


def test_a_model_whose_tokens_see_what_comes_after_is_refused_by_name():
    base = make_base("bert", **SIZES)  # no decoder: attention goes both ways
    for attempt in (lambda: self_test(base), lambda: decoder(base, [[5, 6]], length=2)):
        with pytest.raises(ModelError, match="also sees what comes after it") as caught:
            attempt()
        assert "(bert)" in caught.value.where and caught.value.fix


def test_a_forward_that_is_another_each_time_is_refused(monkeypatch):
    base, real = make_family("Llama"), LlamaForCausalLM.forward

    def noisy(self, *args, **kwargs):
        output = real(self, *args, **kwargs)
        output.logits = output.logits + torch.rand_like(output.logits)
        return output

    monkeypatch.setattr(LlamaForCausalLM, "forward", noisy)
    with pytest.raises(ModelError, match="other log-probabilities each time"):
        self_test(base)


def test_ways_that_all_fail_are_told_with_their_distances(monkeypatch):
    base = make_base("bloom", vocab_size=40, hidden_size=32, n_layer=1, n_head=4, pad_token_id=PAD)
    real = base.logits
    monkeypatch.setattr(type(base), "logits", lambda self, hidden: 2.0 * real(hidden))
    with pytest.raises(ModelError, match="no way to read several sequences agrees") as caught:
        self_test(base)
    assert f"{ALONE}: " in caught.value.what and "nats from" in caught.value.what


def test_a_forward_that_fails_is_a_model_error_with_its_cause(monkeypatch):
    base = make_family("Llama")

    def broken(*args, **kwargs):
        raise RuntimeError("images are missing")

    monkeypatch.setattr(base.model, "forward", broken)
    with pytest.raises(ModelError, match=r"own forward fails.*images are missing") as caught:
        self_test(base)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_memory_that_runs_out_is_not_a_finding(monkeypatch):
    base = make_family("Llama")

    def full(*args, **kwargs):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(base.model, "forward", full)
    with pytest.raises(torch.OutOfMemoryError):
        self_test(base)


# --- models that score


def test_a_decoder_that_scores_is_held_against_its_own_score(tiny, tmp_path):
    base = load(make_classifier(tmp_path / "scores", tiny))
    assert set(base.proofs) == {"packing", "padding"}
    assert all(proof.nats <= 1e-4 for proof in base.proofs.values())


def test_an_encoder_that_scores_is_held_against_its_own_score(tmp_path):
    base = load(make_encoder_classifier(tmp_path / "scores"))
    assert set(base.proofs) == {"scores"}
    assert base.proofs["scores"].way == PADDED


# --- what is tried, and what is remembered


def test_what_is_tried_is_text(tiny):
    base = load(tiny)
    special = set(base.tokenizer.all_special_ids)
    assert not special & set(plain_ids(base))
    tried = trial(base)
    assert tried.prompts[0] == tried.prompts[1] != tried.prompts[2]
    assert [tuple(map(len, row)) for row in zip(tried.prompts, tried.answers, strict=True)] == [
        (6, 4),
        (6, 3),
        (2, 3),
    ]
    base.model.config.image_token_id = 9
    base.model.config.vision_start_token_id = 10
    base.model.config.audio_token_index = 11
    assert media_ids(base.model.config) == {9, 10, 11}
    assert not {9, 10, 11} & set(plain_ids(base))


def count_forwards(monkeypatch) -> list[int]:
    calls: list[int] = []
    real = LlamaForCausalLM.forward
    monkeypatch.setattr(
        LlamaForCausalLM, "forward", lambda *a, **k: (calls.append(1), real(*a, **k))[1]
    )
    return calls


def test_a_test_is_remembered_by_what_decides_its_outcome(tmp_path, monkeypatch):
    calls = count_forwards(monkeypatch)
    folder = make_model(tmp_path / "one")
    load(folder)
    first = len(calls)
    assert first > 4
    load(folder)
    assert len(calls) == first + 1  # two tokens, to see where the trunk ends
    load(folder, dtype="bfloat16")
    assert len(calls) > first + 1 + 4
    again = len(calls) + 1
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-3}))
    load(folder)
    assert len(calls) > again


def test_a_long_test_is_remembered_beyond_the_process(tmp_path, monkeypatch):
    folder = make_model(tmp_path / "one")
    load(folder)
    assert not (tmp_path / "cache").exists()  # it was over in a moment
    module._known.clear()
    monkeypatch.setattr(module, "LONG", 0.0)
    proofs = load(folder).proofs
    module._known.clear()
    calls = count_forwards(monkeypatch)
    assert load(folder).proofs == proofs
    assert len(calls) == 1
    (file,) = (tmp_path / "cache").rglob("*.json")
    file.write_text("{")  # damaged: the test is made again
    module._known.clear()
    assert set(load(folder).proofs) == set(proofs)
    assert len(calls) > 1 + 4


def test_a_home_that_cannot_be_written_to_costs_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setattr(module, "LONG", 0.0)
    assert load(make_model(tmp_path / "one")).proofs


def test_packing_that_was_refused_stays_refused_when_remembered():
    base = make_family("Llama")
    base.proofs["packing"] = Proof(ALONE, 0.0, {PACKED: "0.5 nats from the model's own forward"})
    assert isinstance(lay(ROWS, base), type(collate(ROWS, base)))


def test_a_small_models_test_is_over_in_a_moment(tiny):
    import time

    base = load(tiny)
    base.proofs.clear()
    start = time.process_time()
    self_test(base)
    assert time.process_time() - start < 1.0

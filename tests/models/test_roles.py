import itertools
import json

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BitsAndBytesConfig,
)

from workbench.errors import ConfigError, ModelError
from workbench.models.base import guard_cpu_4bit
from workbench.models.encoding import Encoded
from workbench.models.forward import collate, sequence_scores
from workbench.models.roles import HEAD_KEY, Roles
from workbench.models.source import CARD, resolve
from workbench.settings import RewardSettings

from .tiny import EOS, load, make_model, tiny_settings

IDS = torch.arange(5, 29).reshape(2, 12)
ROWS = [Encoded([2, 5, 3], [6, 7, EOS]), Encoded([2, 8, 9, 10, 3], [11, EOS])]


def fill(roles, name, *, seed=0, std=0.1):
    """Make an adapter say something: a fresh one adds nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for table in roles.parameters(name):
            table.copy_(std * torch.randn(table.shape, generator=generator))


@torch.no_grad()
def logits(roles, name):
    with roles.acting(name):
        return roles.base.model(input_ids=IDS).logits


@pytest.fixture(params=["none", "nf4"])
def roles(tiny, request):
    """No role yet, on the tiny base in fp32 and in NF4."""
    base = load(tiny, request.param)
    return Roles(base, tiny_settings(quantization=request.param))


# --- adding and switching ------------------------------------------------------------------------


def test_a_fresh_adapter_changes_nothing(roles):
    with torch.no_grad():
        alone = roles.base.model(input_ids=IDS).logits
    roles.add("policy", trainable=True)
    assert torch.equal(logits(roles, "policy"), alone)
    assert torch.equal(logits(roles, None), alone)


def test_roles_do_not_leak_into_each_other(roles):
    off = None
    seen = {}
    for seed, name in enumerate(("policy", "value", "reward")):
        roles.add(name, trainable=True)
        off = logits(roles, None) if off is None else off
        fill(roles, name, seed=seed)
        seen[name] = logits(roles, name)
    for name, before in seen.items():
        assert not torch.equal(before, off)
        assert torch.equal(logits(roles, name), before)
    assert torch.equal(logits(roles, None), off)
    assert len({float(s.sum()) for s in seen.values()}) == 3


def test_adapters_are_off_after_a_role_has_acted_even_after_an_error(roles):
    roles.add("policy", trainable=True)
    fill(roles, "policy")
    off = logits(roles, None)
    with pytest.raises(ZeroDivisionError), roles.acting("policy"):
        _ = 1 / 0
    with torch.no_grad():
        assert torch.equal(roles.base.model(input_ids=IDS).logits, off)


def test_a_role_that_was_never_added_is_a_mistake_of_ours(base):
    with pytest.raises(KeyError, match="ghost"), Roles(base, tiny_settings()).acting("ghost"):
        pass


@pytest.mark.parametrize("order", list(itertools.permutations(["policy", "value", "reward"])))
def test_switching_leaves_requires_grad_as_it_was_set(base, order):
    """PEFT's own switches turn frozen adapters trainable; ours must not, in any order."""
    trainable = {"policy": True, "value": True, "reward": False}
    roles = Roles(base, tiny_settings())
    for name in order:
        roles.add(name, trainable=trainable[name])
        roles.add_head(name, trainable=trainable[name])

    def flags():
        found = {n: {p.requires_grad for p in roles.parameters(n)} for n in order}
        return found, {n: h.weight.requires_grad for n, h in roles.heads.items()}

    expected = {n: {trainable[n]} for n in order}, {n: trainable[n] for n in order}
    assert flags() == expected
    for name in (*order, None, *reversed(order), None, order[1]):
        with roles.acting(name):
            out = roles.base.model(input_ids=IDS).logits.sum()
            if name in ("policy", "value"):
                out.backward()
            assert flags() == expected
        assert flags() == expected
    own = {id(p) for n in order for p in roles.parameters(n)}
    assert all(not p.requires_grad for p in base.model.parameters() if id(p) not in own)


def test_only_the_acting_role_gets_gradients(roles):
    for name in ("policy", "value"):
        roles.add(name, trainable=True)
        fill(roles, name)
    with roles.acting("value"):
        roles.base.model(input_ids=IDS).logits.square().sum().backward()
    assert all(p.grad is None for p in roles.parameters("policy"))
    assert all(bool(p.grad.abs().sum() > 0) for p in roles.parameters("value"))


def test_the_adapter_has_the_rank_and_the_targets_asked_for(base):
    roles = Roles(base, tiny_settings(lora_rank=3, target_modules=("q_proj", "v_proj")))
    roles.add("policy", trainable=True)
    tables = roles.parameters("policy")
    assert [tuple(t.shape) for t in tables] == [(3, 64), (64, 3)] * 4  # 2 layers x 2 targets
    assert all(t.dtype == torch.float32 for t in tables)


def test_all_linear_means_every_linear_layer_but_the_vocabulary_head(base):
    roles = Roles(base, tiny_settings())
    roles.add("policy", trainable=True)
    assert len(roles.parameters("policy")) == 2 * 7 * 2
    assert not any("lm_head" in name for name in roles.state("policy"))


def test_the_same_seed_makes_the_same_adapter_and_leaves_the_global_state_alone(tiny):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    made = []
    for seed in (0, 0, 1):
        roles = Roles(load(tiny), tiny_settings())
        roles.add("policy", trainable=True, seed=seed)
        made.append(roles.parameters("policy")[0].detach().clone())
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    assert torch.equal(torch.rand(2), expected)


def test_a_copy_is_equal_and_independent(roles):
    roles.add("reference", trainable=False)
    fill(roles, "reference")
    roles.add("policy", trainable=True, copy_of="reference")
    frozen = logits(roles, "reference")
    assert torch.equal(logits(roles, "policy"), frozen)
    fill(roles, "policy", seed=9)
    assert not torch.equal(logits(roles, "policy"), frozen)
    assert torch.equal(logits(roles, "reference"), frozen)


def test_targets_that_the_model_has_not_are_an_error(base):
    roles = Roles(base, tiny_settings(target_modules=("no_such_layer",)))
    with pytest.raises(ModelError, match="cannot be put on this model") as caught:
        roles.add("policy", trainable=True)
    assert "policy" in caught.value.where and "target_modules" in caught.value.fix


def test_a_rank_of_zero_makes_no_role(base):
    roles = Roles(base, tiny_settings(lora_rank=0))
    with pytest.raises(ConfigError, match="needs an adapter") as caught:
        roles.add("policy", trainable=True)
    assert "lora_rank" in caught.value.where and caught.value.fix


def test_a_fresh_head_is_drawn_from_its_seed_with_variance_one_over_d_plus_one(tiny):
    roles = Roles(load(tiny), tiny_settings())
    head = roles.add_head("reward", trainable=True, seed=4)
    expected = torch.randn(1, 64, generator=torch.Generator().manual_seed(4)) / 65**0.5
    assert torch.equal(head.weight, expected)
    assert head.bias is None
    assert head.weight.dtype == torch.float32


def test_heads_stay_fp32_on_a_half_precision_base(tiny):
    roles = Roles(load(tiny, dtype="bfloat16"), tiny_settings(dtype="bfloat16"))
    roles.add("reward", trainable=True)
    head = roles.add_head("reward", trainable=True)
    scores = sequence_scores(roles.base, head, collate(ROWS, roles.base))
    assert head.weight.dtype == scores.dtype == torch.float32
    assert {p.dtype for p in roles.parameters("reward")} == {torch.float32}


def test_recomputed_activations_give_the_same_gradients(tiny):
    """``gradient_checkpointing`` runs each layer twice, and changes no number."""
    found, forwards = [], []
    for on in (False, True):
        base = load(tiny)
        roles = Roles(base, tiny_settings(gradient_checkpointing=on))
        roles.add("policy", trainable=True)
        head = roles.add_head("policy", trainable=True, seed=1)
        fill(roles, "policy")
        calls = []
        base.model.model.layers[0].mlp.register_forward_pre_hook(lambda *_, c=calls: c.append(1))
        with roles.acting("policy"):
            total = sequence_scores(base, head, collate(ROWS, base)).sum()
        total.backward()  # adapters are off again: the second forward must put them on
        found.append(torch.cat([p.grad.flatten() for p in roles.parameters("policy")]))
        forwards.append(len(calls))
    assert forwards == [1, 2]
    assert not base.model.model.layers[0].training
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("layers", [2, 4])
def test_switching_a_role_writes_to_no_layer(tmp_path, monkeypatch, layers):
    """All layers read one list: a switch takes the same few writes whatever their number."""
    roles = Roles(load(make_model(tmp_path, num_hidden_layers=layers)), tiny_settings())
    for name in ("policy", "value"):
        roles.add(name, trainable=True)
    written = []
    own = torch.nn.Module.__setattr__
    monkeypatch.setattr(
        torch.nn.Module, "__setattr__", lambda *given: (written.append(given[1]), own(*given))[1]
    )
    with roles.acting("policy"), roles.acting("value"):
        assert all(layer.active_adapters == ["value"] for layer in roles._layers)
    assert all(layer.active_adapters == [] for layer in roles._layers)
    assert written == []


def test_recomputing_keeps_no_generators_state(tiny, monkeypatch):
    """Nothing in a pass is drawn by lot."""
    base = load(tiny)
    roles = Roles(base, tiny_settings(gradient_checkpointing=True))
    roles.add("policy", trainable=True)
    head = roles.add_head("policy", trainable=True)
    monkeypatch.setattr(torch, "get_rng_state", None)
    with roles.acting("policy"):
        sequence_scores(base, head, collate(ROWS, base)).sum().backward()
    assert any(p.grad is not None for p in roles.parameters("policy"))


# --- adapters from elsewhere ---------------------------------------------------------------------


def saved_by_peft(tiny, folder, config):
    """An adapter as another tool would leave it."""
    model = get_peft_model(load(tiny).model, config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.05)
    model.save_pretrained(str(folder))
    return folder


def test_an_adapter_that_peft_saved_is_taken_and_its_dropout_is_off(tiny, tmp_path):
    config = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.5, target_modules="all-linear")
    folder = saved_by_peft(tiny, tmp_path / "a", config)
    roles = Roles(load(tiny), tiny_settings())
    roles.add("policy", trainable=True, source=folder)
    with torch.no_grad():
        alone = PeftModel.from_pretrained(load(tiny).model, str(folder)).eval()
        assert torch.equal(logits(roles, "policy"), alone(input_ids=IDS).logits)
    assert torch.equal(logits(roles, "policy"), logits(roles, "policy"))


KINDS_OF_LORA = {
    "DoRA": {"use_dora": True, "target_modules": "all-linear"},
    "rsLoRA": {"use_rslora": True, "target_modules": "all-linear"},
    "on embeddings": {"target_modules": ["embed_tokens", "q_proj"]},
    "a rank for each": {"target_modules": ["q_proj", "v_proj"], "rank_pattern": {"v_proj": 2}},
}


@pytest.mark.parametrize("kind", KINDS_OF_LORA)
def test_every_kind_of_lora_speaks_as_with_peft_alone(tiny, tmp_path, kind):
    config = LoraConfig(r=4, lora_alpha=8, **KINDS_OF_LORA[kind])
    model = get_peft_model(load(tiny).model, config)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name and "magnitude" not in name:
                parameter.normal_(std=0.2)
    model.save_pretrained(str(tmp_path / "a"))
    roles = Roles(load(tiny), tiny_settings())
    roles.add("policy", trainable=False, source=tmp_path / "a")
    with torch.no_grad():
        alone = PeftModel.from_pretrained(load(tiny).model, str(tmp_path / "a")).eval()
        expected = alone(input_ids=IDS).logits
        plain = load(tiny).model(input_ids=IDS).logits
    torch.testing.assert_close(logits(roles, "policy"), expected, rtol=0, atol=1e-5)
    assert (expected - plain).abs().max() > 0.01  # the adapter says something


def test_an_adapter_of_another_base_is_refused(tiny, tmp_path):
    other = make_model(tmp_path / "wide", hidden_size=128)
    theirs = Roles(load(other), tiny_settings())
    theirs.add("policy", trainable=True)
    theirs.save("policy", tmp_path / "a", task="CAUSAL_LM", extra={})
    with pytest.raises(ModelError, match="made for another base") as caught:
        Roles(load(tiny), tiny_settings()).add("policy", trainable=True, source=tmp_path / "a")
    assert str(tmp_path / "a") in caught.value.where and str(tiny) in caught.value.where
    assert caught.value.fix


def test_an_adapter_for_more_layers_is_refused(tiny, tmp_path):
    other = make_model(tmp_path / "deep", num_hidden_layers=3)
    theirs = Roles(load(other), tiny_settings())
    theirs.add("policy", trainable=True)
    theirs.save("policy", tmp_path / "a", task="CAUSAL_LM", extra={})
    with pytest.raises(ModelError, match="made for another base"):
        Roles(load(tiny), tiny_settings()).add("policy", trainable=True, source=tmp_path / "a")


def test_an_adapter_that_is_no_lora_is_refused(tiny, tmp_path):
    config = IA3Config(target_modules=["q_proj", "down_proj"], feedforward_modules=["down_proj"])
    folder = saved_by_peft(tiny, tmp_path / "a", config)
    with pytest.raises(ModelError, match="IA3") as caught:
        Roles(load(tiny), tiny_settings()).add("policy", trainable=True, source=folder)
    assert "LoRA" in caught.value.fix


# --- saved, and loaded with transformers and peft alone -----------------------------------------


def alone(kind, base_folder, folder, quantization, **extra):
    """The adapter on its base, by transformers and peft only, quantised as in training."""
    if quantization == "nf4":
        extra["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        )
    model = kind.from_pretrained(str(base_folder), dtype=torch.float32, **extra)
    guard_cpu_4bit(model)  # on a CPU with AVX512-BF16 the other kernel rounds differently
    return PeftModel.from_pretrained(model, str(folder)).eval()


def test_a_policy_speaks_the_same_with_transformers_and_peft_alone(roles, tiny, tmp_path):
    roles.add("policy", trainable=True)
    fill(roles, "policy")
    folder = tmp_path / "final"
    roles.save("policy", folder, task="CAUSAL_LM", extra={"kind": "sft"})
    model = alone(AutoModelForCausalLM, tiny, folder, roles.base.quantization)
    with torch.no_grad():
        found = model(input_ids=IDS).logits
    torch.testing.assert_close(found, logits(roles, "policy"), rtol=0, atol=1e-5)
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    assert tokenizer.chat_template == roles.base.tokenizer.chat_template
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (EOS, 0)


def test_a_reward_model_scores_the_same_with_transformers_and_peft_alone(roles, tiny, tmp_path):
    roles.add("reward", trainable=True)
    head = roles.add_head("reward", trainable=True, seed=2)
    fill(roles, "reward")
    batch = collate(ROWS, roles.base)
    with torch.no_grad(), roles.acting("reward"):
        scores = sequence_scores(roles.base, head, batch)
    folder = tmp_path / "final"
    roles.save("reward", folder, task="SEQ_CLS", extra={"kind": "reward"})
    model = alone(
        AutoModelForSequenceClassification, tiny, folder, roles.base.quantization, num_labels=1
    )
    with torch.no_grad():
        found = model(input_ids=batch.ids).logits[:, 0]
    torch.testing.assert_close(found, scores, rtol=0, atol=1e-5)
    assert torch.equal(load_file(folder / "adapter_model.safetensors")[HEAD_KEY], head.weight)


def test_what_was_saved_is_loaded_bit_for_bit(roles, tiny, tmp_path):
    roles.add("reward", trainable=True)
    head = roles.add_head("reward", trainable=True, seed=2)
    fill(roles, "reward")
    roles.save("reward", tmp_path / "final", task="SEQ_CLS", extra={})
    before = logits(roles, "reward")
    quantization = roles.base.quantization
    again = Roles(load(tiny, quantization), tiny_settings(quantization=quantization))
    again.add("again", trainable=False, source=tmp_path / "final")
    assert torch.equal(logits(again, "again"), before)
    assert torch.equal(again.heads["again"].weight, head.weight)
    assert not again.heads["again"].weight.requires_grad
    assert not any(p.requires_grad for p in again.parameters("again"))


def test_the_card_says_what_the_adapter_stands_on(tmp_path):
    folder = make_model(tmp_path / "m", pad_token=None)
    roles = Roles(load(folder, "nf4"), tiny_settings(RewardSettings))
    roles.add("reward", trainable=True)
    roles.save("reward", tmp_path / "final", task="CAUSAL_LM", extra={"kind": "reward"})
    card = json.loads((tmp_path / "final" / CARD).read_text())
    assert (card["base"], card["kind"]) == (str(folder), "reward")
    assert (card["quantization"], card["dtype"]) == ("nf4", "float32")
    assert any("no pad token" in notice for notice in card["notices"])
    assert resolve(str(tmp_path / "final")).base == str(folder)

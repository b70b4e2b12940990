"""Folders as people bring them: adapters with their own tokenizers, files in 4 bits, towers."""

import json
import math

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    BitsAndBytesConfig,
    Gemma3Config,
    LlavaConfig,
    Qwen3VLConfig,
)

import workbench.models.base as base_module
from workbench.errors import ModelError
from workbench.models.base import auto_class, cannot_load, load_base, load_plain, reads_alike
from workbench.models.encoding import Encoded, Encoder
from workbench.models.fast.decoding import decoder
from workbench.models.forward import lay, response_stats
from workbench.models.model_kinds import beside_experts, beside_text, expert_weights, text_weights
from workbench.models.roles import Roles
from workbench.models.sampling import sample_responses
from workbench.models.source import resolve
from workbench.training.reward.scorer import Scorer

from .encoders import make_encoder_classifier
from .families import GATED, make_base
from .tiny import EOS, WORDS, assistant, load, make_model, make_tokenizer, tiny_settings, user

bnb = pytest.importorskip("bitsandbytes")
ROWS = [Encoded([5, 6, 7], [8, 9, 10, 11]), Encoded([12], [13, 14])]


def adapter(folder, model, *, tokenizer=None, **changes):
    """Write a LoRA adapter as PEFT does, with a tokenizer where one is given."""
    loaded = AutoModelForCausalLM.from_pretrained(str(model))
    config = {"r": 2, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM", **changes}
    get_peft_model(loaded, LoraConfig(**config)).save_pretrained(str(folder))
    if tokenizer is not None:
        tokenizer.save_pretrained(str(folder))
    return folder


def own(base, row: Encoded):
    logits = base.model(input_ids=torch.tensor([row.ids])).logits[0, len(row.prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(1, torch.tensor(row.response)[:, None])[:, 0]


def check_exact(base):
    with torch.no_grad():
        stats = response_stats(base, lay(ROWS, base), temperature=1.0)
        for found, row in zip(stats.logprobs, ROWS, strict=True):
            torch.testing.assert_close(found[found != 0], own(base, row), rtol=0, atol=1e-5)


# --- adapters that bring their own tokenizer

TURNS = (
    "{% for m in messages %}<user> {{ m['role'] }} {{ m['content'] }} <eos> {% endfor %}"
    "{% if add_generation_prompt %}<user> assistant {% endif %}"
)


def test_an_adapters_own_tokenizer_and_template_are_used_and_said(tiny, tmp_path):
    folder = adapter(tmp_path / "a", tiny, tokenizer=make_tokenizer(chat_template=TURNS))
    base = load(folder)
    assert base.tokenizer.chat_template == TURNS
    assert base.notices == ["the tokenizer, with its chat template, is the adapter's own"]
    encoded = Encoder(base, max_length=32, template={}).pair(user("a b"), assistant("c"))
    assert encoded is not None
    whole = base.tokenizer.apply_chat_template([*user("a b"), *assistant("c")], tokenize=False)
    assert encoded.ids == base.tokenizer(whole, add_special_tokens=False)["input_ids"]


def test_a_template_alone_is_used_with_the_bases_tokenizer(tiny, tmp_path):
    folder = adapter(tmp_path / "a", tiny)
    (folder / "chat_template.jinja").write_text(TURNS)
    base = load(folder)
    assert base.tokenizer.chat_template == TURNS
    assert base.notices == ["the chat template is the adapter's own"]
    assert base.tokenizer.get_vocab() == load(tiny).tokenizer.get_vocab()


def test_an_adapter_without_one_reads_as_its_base(tiny, tmp_path):
    base = load(adapter(tmp_path / "a", tiny))
    assert base.tokenizer.chat_template == load(tiny).tokenizer.chat_template
    assert base.notices == []


def test_tokens_without_an_embedding_are_refused(tiny, tmp_path):
    more = make_tokenizer((*WORDS, "new", "newer"))
    folder = adapter(tmp_path / "a", tiny, tokenizer=more)
    with pytest.raises(ModelError, match="2 tokens that the model has no embedding for") as caught:
        load(folder)
    assert "'new'" in caught.value.where


def test_what_is_trained_from_such_an_adapter_reads_as_it_does(tiny, tmp_path):
    folder = adapter(tmp_path / "a", tiny, tokenizer=make_tokenizer(chat_template=TURNS))
    base = load(folder)
    roles = Roles(base, tiny_settings())
    roles.add("policy", trainable=True, source=folder)
    roles.save("policy", tmp_path / "ours", task="CAUSAL_LM", extra={})
    assert load(tmp_path / "ours").tokenizer.chat_template == TURNS
    plain = load(tiny)
    own_roles = Roles(plain, tiny_settings())
    own_roles.add("policy", trainable=True)
    own_roles.save("policy", tmp_path / "plain", task="CAUSAL_LM", extra={})
    assert resolve(str(tmp_path / "plain")).tokenizer == str(tiny)  # one base for all of these


def test_models_on_one_base_that_read_differently_are_told_apart(tiny, tmp_path):
    base = load(tiny)
    same = adapter(tmp_path / "same", tiny, tokenizer=make_tokenizer())
    other = adapter(tmp_path / "other", tiny, tokenizer=make_tokenizer(chat_template=TURNS))
    ends = adapter(tmp_path / "ends", tiny, tokenizer=make_tokenizer(eos_token="<user>"))
    bare = adapter(tmp_path / "bare", tiny)
    alike = [reads_alike(resolve(str(f)), base) for f in (same, other, ends, bare)]
    assert alike == [True, False, False, True]


def test_a_reward_model_that_reads_differently_stands_beside_the_policys_base(tiny, tmp_path):
    base = load(tiny)
    roles = Roles(base, tiny_settings())
    roles.add("reward", trainable=True)
    roles.add_head("reward", trainable=True)
    folders = {}
    for name, template in (("same", base.tokenizer.chat_template), ("other", TURNS)):
        folders[name] = tmp_path / name
        roles.save("reward", folders[name], task="SEQ_CLS", extra={})
        (folders[name] / "workbench.json").unlink()  # as another tool writes it
        make_tokenizer(chat_template=template).save_pretrained(str(folders[name]))
    for name, shares in (("same", True), ("other", False)):
        policy = Roles(load(tiny), tiny_settings())
        scorer = Scorer.attach(str(folders[name]), policy, tiny_settings())
        assert scorer.shares_base is shares
        assert scorer.base.tokenizer.chat_template == (
            base.tokenizer.chat_template if shares else TURNS
        )


@pytest.mark.parametrize(
    ("changes", "brings"),
    [
        ({"modules_to_save": ["lm_head", "embed_tokens"]}, "lm_head, embed_tokens"),
        ({"trainable_token_indices": [5, 6]}, "rows of the embeddings"),
        ({"bias": "lora_only", "target_modules": ["q_proj"]}, "biases of the base"),
    ],
)
def test_an_adapter_that_brings_more_than_lora_says_merge_first(changes, brings, tiny, tmp_path):
    folder = adapter(tmp_path / "a", tiny, **changes)
    for attempt in (
        lambda: load(folder),
        lambda: Roles(load(tiny), tiny_settings()).add("policy", trainable=True, source=folder),
    ):
        with pytest.raises(ModelError, match=brings) as caught:
            attempt()
        assert caught.value.where == str(folder) and "merge_and_unload" in caught.value.fix


def test_the_head_of_a_reward_adapter_is_no_whole_layer(tiny, tmp_path):
    folder = adapter(tmp_path / "a", tiny, modules_to_save=["score", "classifier"])
    resolve(str(folder)).check_adapter()


# --- files in 4 bits


def quantised(folder, model, **how):
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.bfloat16, **how)
    loaded = AutoModelForCausalLM.from_pretrained(
        str(model), quantization_config=config, device_map={"": "cpu"}
    )
    loaded.save_pretrained(str(folder))
    make_tokenizer().save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize("asked", ["none", "nf4"])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_files_in_4_bits_are_what_they_are(kind, asked, tiny, tmp_path):
    folder = quantised(tmp_path / "four", tiny, bnb_4bit_quant_type=kind)
    base = load(folder, asked)
    layers = [m for m in base.model.modules() if isinstance(m, bnb.nn.Linear4bit)]
    assert len(layers) == 14 and base.quantization == kind
    assert {layer.weight.quant_state.quant_type for layer in layers} == {kind}
    # computed in the run's precision, whatever the files name
    assert {layer.compute_dtype for layer in layers} == {torch.float32}
    assert all(layer.support_avx512bf16_for_cpu is False for layer in layers)
    told = [notice for notice in base.notices if f"quantised ({kind})" in notice]
    assert len(told) == (kind != asked)
    check_exact(base)
    roles = Roles(base, tiny_settings())
    roles.add("policy", trainable=True)
    with roles.acting("policy"):
        response_stats(base, lay(ROWS, base), temperature=1.0).logprobs.sum().backward()
    assert all(weight.grad is not None for weight in roles.parameters("policy"))


def test_nothing_is_merged_into_files_in_4_bits(tiny, tmp_path):
    folder = quantised(tmp_path / "four", tiny, bnb_4bit_quant_type="nf4")
    with pytest.raises(ModelError, match="own files are quantised"):
        base_module.check_plain(resolve(str(folder)))


def test_a_model_whose_own_forward_fails_in_4_bits_is_not_quantised(tmp_path):
    """Mamba reads the weights of a layer without calling it."""
    config = AutoConfig.for_model(
        "mamba", vocab_size=33, hidden_size=64, num_hidden_layers=2, state_size=8, pad_token_id=0,
        eos_token_id=1, bos_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(str(tmp_path / "mamba"))
    make_tokenizer().save_pretrained(str(tmp_path / "mamba"))
    base = load(tmp_path / "mamba", "nf4")
    assert base.quantization == "none"
    assert any("not quantised: in 4 bits the model's own forward fails" in n for n in base.notices)
    check_exact(base)


# --- models that also see

TEXT = {
    "vocab_size": 33,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 96,
    "initializer_range": 0.2,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
SEES = {
    "Gemma 3": lambda: Gemma3Config(
        text_config={**TEXT, "sliding_window": 6, "query_pre_attn_scalar": 8},
        vision_config=VISION, mm_tokens_per_image=1,
        boi_token_index=30, eoi_token_index=31, image_token_index=32,
    ),
    "Llava": lambda: LlavaConfig(
        text_config={"model_type": "llama", **TEXT},
        vision_config={"model_type": "clip_vision_model", **VISION}, image_token_index=32,
    ),
    "Qwen3-VL": lambda: Qwen3VLConfig(
        text_config={**TEXT, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4,
                                                 "mrope_section": [2, 1, 1]}},
        vision_config={"hidden_size": 32, "intermediate_size": 48, "depth": 1, "num_heads": 2,
                       "patch_size": 14, "out_hidden_size": 32, "deepstack_visual_indexes": [0]},
        image_token_id=32, video_token_id=31, vision_start_token_id=30, vision_end_token_id=29,
    ),
}  # fmt: skip


def make_seeing(folder, name):
    config = SEES[name]()
    kind = AutoModelForCausalLM if name == "Gemma 3" else AutoModelForImageTextToText
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kind.from_config(config).save_pretrained(str(folder))
    make_tokenizer().save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize("name", SEES)
def test_of_a_model_that_sees_the_text_is_trained_and_exact(name, tmp_path):
    base = load(make_seeing(tmp_path / "seeing", name), target_modules="all-linear")
    assert base.longest == 96
    towers = beside_text(base.model)
    assert towers
    (notice,) = [notice for notice in base.notices if "text alone" in notice]
    assert all(tower in notice for tower in towers)
    check_exact(base)
    for targets in ("all-linear", ("q_proj", "v_proj")):
        settings = tiny_settings(target_modules=targets)
        roles = Roles(load(tmp_path / "seeing"), settings)
        roles.add("policy", trainable=True)
        names = [name for name in roles.state("policy") if "lora_A" in name]
        assert len(names) == 2 * (7 if targets == "all-linear" else 2)
        assert all(".language_model.layers." in name for name in names)
        assert not any(tower in name for name in names for tower in towers)


@pytest.mark.parametrize("name", SEES)
def test_the_places_of_images_are_never_sampled(name, tmp_path):
    """An image's id in an answer would make the next forward look for an image."""
    base = load(make_seeing(tmp_path / "seeing", name))
    places = {32} if name == "Llava" else {30, 31, 32} if name == "Gemma 3" else {29, 30, 31, 32}
    assert places <= set(base.unsaid.tolist())
    rows = sample_responses(
        base, [[5, 6]] * 64, length=8, temperature=5.0, generator=torch.Generator().manual_seed(0)
    )
    assert not places & {token for row in rows for token in row}
    assert max(map(len, rows)) == 8


def test_plain_weights_of_such_a_model_are_loaded_by_the_same_class(tmp_path):
    base = load(make_seeing(tmp_path / "seeing", "Llava"))
    plain = load_plain(base, scores=False, dtype=torch.float32)
    assert type(plain) is type(base.model)


def test_of_a_model_that_hears_the_text_is_trained_and_exact(tmp_path):
    sizes = {
        "d_model": 32,
        "encoder_layers": 1,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 48,
    }
    config = AutoConfig.for_model(
        "qwen2_audio",
        audio_config={"model_type": "qwen2_audio_encoder", "num_mel_bins": 8, **sizes},
        text_config={"model_type": "qwen2", **TEXT},
        audio_token_index=32,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        auto_class(config).from_config(config).save_pretrained(str(tmp_path / "hears"))
    make_tokenizer().save_pretrained(str(tmp_path / "hears"))
    base = load(tmp_path / "hears")
    assert beside_text(base.model) == ["model.audio_tower", "model.multi_modal_projector"]
    assert base.longest == 96 and 32 in base.unsaid.tolist()
    check_exact(base)


def test_where_all_weights_are_trained_those_of_text_are(tmp_path):
    model = load(make_seeing(tmp_path / "seeing", "Gemma 3")).model
    taken = {id(weight) for weight in text_weights(model)}
    names = {name for name, weight in model.named_parameters() if id(weight) not in taken}
    assert names and all("vision_tower" in n or "projector" in n for n in names)
    plain = make_base("llama", **GATED).model
    assert len(text_weights(plain)) == len(list(plain.parameters()))


def test_a_model_of_text_alone_has_nothing_beside_its_text():
    for kind in ("llama", "gemma3_text", "bloom", "gpt2"):
        sizes = {"n_layer": 1, "n_head": 4} if kind == "bloom" else {}
        assert beside_text(make_base(kind, **{**GATED, **sizes}).model) == []


# --- mixtures of experts

MIXTURES = {
    "mixtral": {"num_local_experts": 4},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "deepseek_v2": {
        "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
        "kv_lora_rank": 8, "q_lora_rank": 8, "qk_nope_head_dim": 4, "qk_rope_head_dim": 4,
        "v_head_dim": 8, "n_group": 1, "topk_group": 1, "head_dim": 4,
    },
    "jetmoe": {"num_local_experts": 4, "num_experts_per_tok": 2, "kv_channels": 8},
}  # fmt: skip


@pytest.mark.parametrize("kind", MIXTURES)
def test_of_a_mixture_of_experts_the_attention_is_trained(kind):
    base = make_base(kind, **{**GATED, **MIXTURES[kind]})
    assert expert_weights(base.model)
    roles = Roles(base, tiny_settings(target_modules="all-linear"))
    roles.add("policy", trainable=True)
    names = [name for name in roles.state("policy") if "lora_A" in name]
    assert names and all("attn" in name or "attention" in name for name in names)
    with roles.acting("policy"):
        response_stats(base, lay(ROWS, base), temperature=1.0).logprobs.sum().backward()
    assert all(weight.grad is not None for weight in roles.parameters("policy"))


def test_the_experts_that_are_not_in_4_bits_are_named(tmp_path):
    config = AutoConfig.for_model("mixtral", **{**GATED, **MIXTURES["mixtral"], "vocab_size": 33})
    with torch.random.fork_rng(devices=[]):
        AutoModelForCausalLM.from_config(config).save_pretrained(str(tmp_path / "moe"))
    make_tokenizer().save_pretrained(str(tmp_path / "moe"))
    base = load(tmp_path / "moe", "nf4")
    (notice,) = [notice for notice in base.notices if "experts" in notice]
    assert "attention" in notice and "gate_up_proj" in notice and "not in 4 bits" in notice
    (plain,) = [n for n in load(tmp_path / "moe").notices if "experts" in n]
    assert "4 bits" not in plain


def test_where_layers_of_two_kinds_share_a_name_those_without_experts_are_taken():
    """Nemotron-H calls attention, state space and experts ``mixer`` alike."""
    base = make_base(
        "nemotron_h", vocab_size=40, hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, intermediate_size=48, n_routed_experts=4,
        moe_intermediate_size=16, mamba_num_heads=4, mamba_head_dim=8, ssm_state_size=8, n_groups=1,
        pad_token_id=0, eos_token_id=1, hybrid_override_pattern="ME*",
    )  # fmt: skip
    names = beside_experts(base.model)
    assert names and not any("experts" in name for name in names)


# --- layers that write into what they are given


def test_layers_that_add_in_place_train():
    base = make_base("falcon", **{**GATED, "new_decoder_architecture": True, "num_kv_heads": 2})
    roles = Roles(base, tiny_settings(target_modules="all-linear"))
    roles.add("policy", trainable=True)
    for weight in roles.parameters("policy"):
        torch.nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(1))
    with roles.acting("policy"):
        check_exact(base)
        ours = response_stats(base, lay(ROWS, base), temperature=1.0).logprobs.sum()
        found = torch.autograd.grad(ours, roles.parameters("policy"))
        right = torch.autograd.grad(
            sum(own(base, row).sum() for row in ROWS), roles.parameters("policy")
        )
    for one, other in zip(found, right, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_what_an_adapted_layer_gives_may_be_changed_in_place(base):
    roles = Roles(base, tiny_settings(target_modules=["up_proj"]))
    roles.add("policy", trainable=True)
    layer = base.model.get_submodule("model.layers.0.mlp.up_proj")
    x = torch.randn(2, 3, 64, requires_grad=True)
    with roles.acting("policy"):
        y = layer(x)
        y += 1.0
        y[..., 0] *= 2.0
        y.sum().backward()
    assert x.grad is not None


# --- ids that no token has


@pytest.fixture
def wide(tmp_path):
    """A model whose embeddings have seven rows more than its tokenizer has tokens."""
    return load(make_model(tmp_path / "wide", vocab_size=40))


def test_ids_beyond_the_tokenizer_are_never_sampled(wide):
    assert wide.unsaid.tolist() == list(range(33, 40))
    rows = sample_responses(
        wide, [[5, 6]] * 256, length=4, temperature=3.0, generator=torch.Generator().manual_seed(0)
    )
    assert max(token for row in rows for token in row) < 33


def test_what_remains_is_drawn_in_proportion(wide):
    count = 6000
    drawn = sample_responses(
        wide, [[5, 6]] * count, length=1, temperature=1.0,
        generator=torch.Generator().manual_seed(3),
    )  # fmt: skip
    with torch.no_grad():
        logits = wide.model(input_ids=torch.tensor([[5, 6]])).logits[0, -1, :33].double()
    expected = count * logits.softmax(-1)
    counts = torch.bincount(torch.tensor(drawn).flatten(), minlength=33).double()
    often = expected >= 5
    e = torch.cat([expected[often], expected[~often].sum(0, keepdim=True)])
    c = torch.cat([counts[often], counts[~often].sum(0, keepdim=True)])
    statistic = ((c - e) ** 2 / e.clamp(min=1e-9)).sum()
    freedom = torch.tensor((len(e) - 1) / 2, dtype=torch.float64)
    assert float(torch.special.gammaincc(freedom, statistic / 2)) > 0.001


def test_log_probabilities_stay_the_models_own_and_the_gap_is_said(wide):
    check_exact(wide)
    proof = wide.proofs["unsaid"]
    (notice,) = [notice for notice in wide.notices if "never sampled" in notice]
    assert "7 ids" in notice
    worst = 0.0
    for row in base_rows(wide):
        with torch.no_grad():
            chances = wide.model(input_ids=torch.tensor([row.ids])).logits[0].softmax(-1)
        worst = max(worst, float(chances[len(row.prompt) - 1 : -1, 33:].sum(-1).max()))
    assert proof.nats == pytest.approx(-math.log1p(-worst), rel=1e-4)


def base_rows(base):
    from workbench.models.proof import trial

    tried = trial(base)
    return [Encoded(*row) for row in zip(tried.prompts, tried.answers, strict=True)]


def test_a_tokenizer_that_fits_leaves_nothing_out(base):
    assert base.unsaid.tolist() == []
    assert "unsaid" not in base.proofs


def test_a_token_that_ends_an_answer_is_always_said(tmp_path):
    base = load(make_model(tmp_path / "wide", vocab_size=40))
    base.eos_ids = (EOS, 39)
    del base.__dict__["unsaid"]
    assert base.unsaid.tolist() == list(range(33, 39))


# --- positions


def test_a_model_whose_angles_change_is_kept_to_where_they_do_not():
    config = {**GATED, "max_position_embeddings": 64, "partial_rotary_factor": 1.0}
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4,
            "long_factor": [4.0] * 4, "original_max_position_embeddings": 16}  # fmt: skip
    base = make_base("phi3", **config, rope_parameters=rope, original_max_position_embeddings=16)
    assert base.longest == 16
    assert make_base("phi3", **config).longest == 64


@pytest.mark.parametrize(
    ("kind", "config", "longest"),
    [
        ("gpt2", {"n_positions": 48}, 48),
        ("mpt", {"d_model": 32, "n_layers": 1, "n_heads": 4, "max_seq_len": 40}, 40),
        ("whisper", {"d_model": 32, "decoder_layers": 1, "decoder_attention_heads": 4,
                     "max_target_positions": 24}, 24),
        ("mamba", {"hidden_size": 32, "num_hidden_layers": 1}, 1 << 20),
    ],
)  # fmt: skip
def test_how_many_positions_there_are_is_found_under_any_name(kind, config, longest):
    base = make_base(kind, vocab_size=40, pad_token_id=0, eos_token_id=1, **config)
    assert base.longest == longest


# --- what other libraries raise


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (TypeError("no such argument"), "hub id"),
        (AttributeError("no such attribute"), "hub id"),
        (ImportError("needs a package"), "install the package"),
        (ValueError("pass trust_remote_code=True"), "none of it is run here"),
        (MemoryError(), "nf4"),
        (torch.OutOfMemoryError("CUDA out of memory"), "nf4"),
        (NotImplementedError(), "hub id"),
    ],
)
def test_whatever_a_library_raises_says_what_where_and_how_to_mend(error, fix):
    with pytest.raises(ModelError, match="cannot be loaded") as caught, cannot_load("a/folder"):
        raise error
    assert caught.value.where == "a/folder" and fix in caught.value.fix
    assert caught.value.__cause__ is error


def test_our_own_errors_stay_as_they_are():
    known = ModelError("this", where="there", fix="so")
    with pytest.raises(ModelError) as caught, cannot_load("a/folder"):
        raise known
    assert caught.value is known


@pytest.mark.parametrize(
    "damage",
    [
        {"hidden_size": "wide"},
        {"num_attention_heads": 0},
        {"hidden_act": "never-heard-of"},
        {"rope_parameters": {"rope_type": "strange"}},
    ],
)
def test_a_config_that_no_model_has_is_a_model_error(damage, tmp_path):
    folder = make_model(tmp_path / "odd")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **damage}))
    with pytest.raises(ModelError) as caught:
        load(folder)
    assert caught.value.where and caught.value.fix


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"[1, 2]", b"3"])
def test_a_config_that_is_no_table_is_a_model_error(content, tmp_path):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelError, match="this file") as caught:
        resolve(str(tmp_path))
    assert caught.value.where == str(tmp_path / "config.json") and caught.value.fix


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("adapter_config.json", '{"peft_type": "LORA", "r": "many"}'),
        ("adapter_config.json", '{"peft_type": "NEVER", "r": 2}'),
        ("adapter_model.safetensors", "no such thing"),
        ("adapter_model.safetensors", None),
    ],
)
def test_a_damaged_adapter_is_a_model_error(name, content, tiny, tmp_path):
    folder = adapter(tmp_path / "a", tiny)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    with pytest.raises(ModelError) as caught:
        Roles(load(tiny), tiny_settings()).add("policy", trainable=False, source=folder)
    assert caught.value.where and caught.value.fix


def test_a_tokenizer_that_is_missing_is_named_with_its_folder(tmp_path):
    folder = make_model(tmp_path / "bare")
    for file in folder.glob("token*"):
        file.unlink()
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        load_base(resolve(str(folder)), tiny_settings())
    assert caught.value.where == str(folder)


def test_an_encoder_may_bring_its_whole_head(tmp_path):
    """What is refused for a decoder is how an encoder's adapter is saved."""
    base = load(make_encoder_classifier(tmp_path / "scores"))
    roles = Roles(base, tiny_settings())
    roles.add("reward", trainable=True)
    roles.save("reward", tmp_path / "adapter", task="SEQ_CLS", extra={})
    again = load(tmp_path / "adapter")
    Roles(again, tiny_settings()).add("reward", trainable=False, source=tmp_path / "adapter")


def test_decoding_of_a_seeing_model_follows_from_the_whole_sequence(tmp_path):
    base = load(make_seeing(tmp_path / "seeing", "Gemma 3"))
    rows = decoder(base, [[5, 6, 7, 8, 9, 10, 11], [12]], length=4)
    logits = rows.start()
    for seen in ([[5, 6, 7, 8, 9, 10, 11], [12]],):
        for at, ids in enumerate(seen):
            with torch.no_grad():
                want = base.model(input_ids=torch.tensor([ids])).logits[0, -1]
            torch.testing.assert_close(logits[at], want, rtol=0, atol=1e-5)

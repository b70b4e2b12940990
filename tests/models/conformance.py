"""Every family that the installed transformers makes from a tiny config, held against its forward.

``python -m tests.models.conformance`` writes the table, workbench/CONFORMANCE.md.
"""

import inspect
import math
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from workbench.errors import ModelError
from workbench.models.base import auto_class, load_base
from workbench.models.encoding import Encoded
from workbench.models.fast import decoding
from workbench.models.fast.decoding import decoder
from workbench.models.forward import ALONE, PACKED, lay, response_stats
from workbench.models.loaded_base import OUTPUT_EMBEDDINGS, Base
from workbench.models.roles import Roles
from workbench.models.self_test import self_test
from workbench.models.source import Source, resolve
from workbench.training.reward.scorer import Scorer

from .encoders import KINDS, make_encoder_classifier
from .tiny import EOS, PAD, make_tokenizer, tiny_settings

TABLE = Path(__file__).parents[2] / "workbench" / "CONFORMANCE.md"
VOCABULARY = 40
WINDOW = 5
"""Shorter than the sequences that are tried."""
ROWS = [
    Encoded([7, 5, 9, 6, 8, 11, 30, 12], [13, 5, 20, 21, 6, 9]),
    Encoded([7, 5, 9, 6, 8, 11, 30, 12], [14, 22, 23]),
    Encoded([20], [9, 8, 7, 25]),
    Encoded([10, 31], [12, 15, 16, 17]),
]
LOGPROBS, GRADIENTS = 1e-4, 1e-3
"""Bounds in fp32: log-probabilities [nats], and gradients as a share of their norm."""
DRAWN = 0.2
"""Weights are drawn so widely that a wrong context shows."""

#: What a config may be asked for; of these a family gets those that it has.
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 64,
    "initializer_range": DRAWN, "pad_token_id": PAD, "eos_token_id": EOS, "bos_token_id": None,
    "head_dim": 8, "ffn_dim": 48, "d_model": 32, "num_layers": 2, "num_heads": 4, "n_layer": 2,
    "n_head": 4, "n_embd": 32, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4,
    "num_experts_per_tok": 2, "moe_intermediate_size": 16, "kv_lora_rank": 8, "q_lora_rank": 8,
    "qk_nope_head_dim": 4, "qk_rope_head_dim": 4, "v_head_dim": 8, "decoder_layers": 2,
    "decoder_attention_heads": 4, "decoder_ffn_dim": 48, "state_size": 8, "moe_num_experts": 4,
    "shared_expert_intermediate_size": 16, "n_group": 1, "topk_group": 1, "is_decoder": True,
}  # fmt: skip
LATENT = {"head_dim": 4}
EXPERTS = {"n_routed_experts": 4, "first_k_dense_replace": 1}
STATES = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 8,
          "mamba_chunk_size": 16}  # fmt: skip
LAYERS = {"layer_types": ["linear_attention", "full_attention"]}
DELTA = {**LAYERS, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8,
         "linear_value_head_dim": 8}  # fmt: skip
HALF = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": WINDOW}

#: What some families need besides; None leaves something of SIZES out.
MORE: dict[str, dict[str, Any]] = {
    "axk1": {**LATENT, **EXPERTS},
    "bailing_hybrid": {**LATENT, **EXPERTS, **LAYERS},
    "bamba": {**STATES, "attn_layer_indices": [1], "head_dim": None, "num_heads": None},
    "codegen": {"rotary_dim": 4, "n_inner": 48},
    "cohere": {"logit_scale": 0.25},
    "cohere2": {**HALF, "logit_scale": 0.25},
    "deepseek_v3": {**LATENT, **EXPERTS, "n_shared_experts": 1},
    "cwm": {"bos_token_id": 1},
    "dots1": {**EXPERTS, "n_shared_experts": 1},
    "falcon": {"new_decoder_architecture": True, "num_kv_heads": 2, "head_dim": None},
    "falcon_h1": {**STATES, "mamba_d_ssm": 64, "lm_head_multiplier": 0.25},
    "gemma2": {**HALF, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
    "gemma3_text": HALF,
    "gemma3n_text": {
        **HALF, "num_kv_shared_layers": 0, "hidden_size_per_layer_input": 8, "laurel_rank": 4,
        "vocab_size_per_layer_input": VOCABULARY, "altup_num_inputs": 2,
        "activation_sparsity_pattern": [0.0, 0.0],
    },
    "gemma4_text": {
        **HALF, "num_kv_shared_layers": 0, "hidden_size_per_layer_input": 8, "head_dim": None,
        "vocab_size_per_layer_input": VOCABULARY, "num_key_value_heads": None,
    },
    "glm4_moe_lite": {**LATENT, **EXPERTS},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": WINDOW},
    "gptj": {"rotary_dim": 4, "n_inner": 48, "head_dim": None},
    "granite": {"logits_scaling": 4.0},
    "granitemoe": {"logits_scaling": 4.0},
    "granitemoehybrid": {**STATES, "layer_types": ["mamba", "attention"], "logits_scaling": 4.0,
                         "shared_intermediate_size": 16, "head_dim": None},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_offset": 1,
              "expert_layer_period": 2, "mamba_d_state": 8, "use_mamba_kernels": False},
    "kimi_linear": {**LAYERS, "linear_num_heads": 4, "head_dim": 4,
                    "linear_head_dim": 8, "num_experts_per_token": 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "lfm3": {"layer_types": ["conv", "full_attention"]},
    "longcat_flash": {**LATENT, "num_layers": 1, "zero_expert_num": 1, "moe_topk": 2,
                      "expert_ffn_hidden_size": 16, "ffn_hidden_size": 48},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 16},
    "mistral": {"sliding_window": WINDOW},
    "mixtral": {"sliding_window": WINDOW},
    "modernbert-decoder": {"bos_token_id": 1},
    "nemotron_h": {
        "num_hidden_layers": 3, "hybrid_override_pattern": "ME*", "mamba_num_heads": 4,
        "mamba_head_dim": 8, "ssm_state_size": 8, "n_groups": 1, "chunk_size": 16,
        "moe_shared_expert_intermediate_size": 16,
    },
    "qwen2": {**HALF, "use_sliding_window": True},
    "qwen3": {**HALF, "use_sliding_window": True},
    "qwen3_5_moe_text": DELTA,
    "qwen3_5_text": DELTA,
    "qwen3_next": DELTA,
    "prophetnet": {"num_decoder_layers": 2, "num_decoder_attention_heads": 4, "hidden_size": 32,
                   "num_hidden_layers": None},
    "recurrent_gemma": {"block_types": ["recurrent", "attention"], "lru_width": 32,
                        "attention_window_size": WINDOW},
    "reformer": {
        "axial_pos_embds": False, "attention_head_size": 8, "attn_layers": ["local", "lsh"],
        "local_attn_chunk_length": 4, "lsh_attn_chunk_length": 4, "feed_forward_size": 48,
        "num_buckets": 2, "num_hashes": 1, "num_hidden_layers": None,
    },
    "xlnet": {"d_inner": 48, "max_position_embeddings": None},
    "rwkv": {"attention_hidden_size": 32},
    "youtu": LATENT,
    "zamba2": {
        "mamba_d_state": 8, "n_mamba_heads": 8, "mamba_headdim": 8, "mamba_ngroups": 1,
        "num_mem_blocks": 1, "layers_block_type": ["mamba", "hybrid"], "chunk_size": 16,
        "layer_types": ["mamba", "hybrid"], "attention_hidden_size": 64, "adapter_rank": 4,
        "attention_head_dim": 16, "num_key_value_heads": 4, "head_dim": None, "num_heads": None,
    },
}  # fmt: skip

CAUSAL = (
    "afmoe", "apertus", "arcee", "aria_text", "axk1", "bailing_hybrid", "bamba", "bart", "bert",
    "bert-generation", "big_bird", "biogpt", "bitnet", "bloom", "codegen", "cohere", "cohere2",
    "cohere2_moe", "cpmant", "ctrl", "cwm", "deepseek_v2", "deepseek_v3", "diffllama", "doge",
    "dots1", "electra", "ernie", "ernie4_5", "ernie4_5_moe", "exaone4", "exaone_moe", "falcon",
    "falcon_h1", "falcon_mamba", "flex_olmo", "gemma", "gemma2", "gemma3_text", "gemma3n_text",
    "gemma4_text", "glm", "glm4", "glm4_moe", "glm4_moe_lite", "gpt2", "gpt_bigcode", "gpt_neo",
    "gpt_neox", "gpt_neox_japanese", "gpt_oss", "gptj", "granite", "granitemoe",
    "granitemoehybrid", "granitemoeshared", "helium", "hunyuan_v1_dense", "hunyuan_v1_moe",
    "jais2", "jamba", "jetmoe", "kimi_linear", "lfm2", "lfm2_moe", "lfm3", "llama", "llama4_text",
    "longcat_flash", "mamba", "mamba2", "minicpm3", "minimax", "minimax_m2", "ministral",
    "mistral", "mixtral", "modernbert-decoder", "moshi", "mpt", "nanochat", "nemotron",
    "nemotron_h", "olmo", "olmo2", "olmo3", "olmo_hybrid", "olmoe", "openai-gpt", "opt",
    "persimmon", "phi", "phi3", "phimoe", "prophetnet", "qwen2", "qwen2_moe", "qwen3",
    "qwen3_5_moe_text", "qwen3_5_text", "qwen3_moe", "qwen3_next", "recurrent_gemma", "reformer",
    "rembert", "roberta", "roformer", "rwkv", "seed_oss", "smollm3", "solar_open", "stablelm",
    "starcoder2", "trocr", "vaultgemma", "whisper", "xglm", "xlm", "xlnet", "xlm-roberta",
    "youtu", "zamba2",
)  # fmt: skip
#: What of a model that sees is asked for, beside the sizes of its text part.
VISION: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2,
    "image_size": 28, "patch_size": 14, "depth": 1, "num_heads": 2, "out_hidden_size": 32,
}  # fmt: skip
SEEING = (
    "aria", "aya_vision", "cohere2_vision", "deepseek_vl", "fuyu", "gemma3", "got_ocr2",
    "idefics2", "idefics3", "internvl", "llava", "llava_next", "llava_onevision", "mistral3",
    "paligemma", "qwen3_vl", "qwen3_vl_moe", "smolvlm", "video_llava", "vipllava",
)  # fmt: skip
ENCODERS: dict[str, dict[str, Any]] = {
    **KINDS,
    "albert": {"embedding_size": 16},
    "distilbert": {"dim": 64, "n_layers": 2, "n_heads": 2, "hidden_dim": 128},
    "electra": {"embedding_size": 16},
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 8},
    "xlm-roberta": {"type_vocab_size": 1},
}


class Outcome(NamedTuple):
    """What became of a family: ``exact``, ``exact, own path: ...`` or ``refused: ...``."""

    family: str
    text: str


def causal_families() -> list[str]:
    """Those of the list that the installed transformers has."""
    return [kind for kind in CAUSAL if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES]


def config_of(kind: str) -> Any:
    """A tiny config of a family of text."""
    default, more = AutoConfig.for_model(kind), MORE.get(kind, {})
    left_out = {name for name, value in more.items() if value is None}
    sizes = {k: v for k, v in SIZES.items() if k not in left_out and hasattr(default, k)}
    sizes |= {name: value for name, value in more.items() if value is not None}
    return AutoConfig.for_model(kind, **sizes)


def seeing_config_of(kind: str) -> Any:
    """A tiny config of a family that sees and reads."""
    default = AutoConfig.for_model(kind)
    parts: dict[str, Any] = {}
    for name in default.sub_configs:
        sub = getattr(default, name)
        sizes = SIZES if "text" in name else VISION
        own = {key: value for key, value in sizes.items() if hasattr(sub, key)}
        own.pop("is_decoder", None)
        parts[name] = {**own, "model_type": sub.model_type}
    ids = ("image_token_id", "image_token_index", "video_token_id", "video_token_index",
           "vision_start_token_id", "vision_end_token_id", "boi_token_index",
           "eoi_token_index")  # fmt: skip
    parts |= {name: VOCABULARY - 1 for name in ids if hasattr(default, name)}
    if hasattr(default, "mm_tokens_per_image"):
        parts["mm_tokens_per_image"] = 1
    return AutoConfig.for_model(kind, **parts)


def make(kind: str, config: Any) -> Base:
    """A base of random weights, in fp32."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = auto_class(config).from_config(config).float().eval().requires_grad_(False)
        model.config.use_cache = False  # RWKV writes into its state, which no gradient passes
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and float(weight.std()) < DRAWN / 4 and "norm" not in name:
                torch.nn.init.normal_(weight, std=DRAWN)
    words = tuple(f"w{i}" for i in range(VOCABULARY - 5))
    source = Source(f"tiny {kind}", None, f"tiny {kind}")
    return Base(
        model, make_tokenizer(words), source, torch.device("cpu"), torch.float32, "none", (EOS,)
    )


def own_logprobs(base: Base, row: Encoded) -> torch.Tensor:
    """By the library's forward: log-probabilities ``(R, V)`` at the answer's places."""
    logits = base.model(input_ids=torch.tensor([row.ids])).logits[0]
    return logits[len(row.prompt) - 1 : -1].log_softmax(-1)


@cache
def causal_outcome(kind: str) -> Outcome:
    """Build a family, hold all that we compute against its forward, and say what became of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base = make(kind, (seeing_config_of if kind in SEEING else config_of)(kind))
        try:
            self_test(base)
        except ModelError as error:
            return Outcome(kind, f"refused: {_reason(error)}")
        _check_logprobs(base)
        _check_decoding(base)
        _check_training(base)
    return Outcome(kind, _exact(base))


def _check_logprobs(base: Base) -> None:
    with torch.no_grad():
        stats = response_stats(base, lay(ROWS, base), temperature=1.0)
        for row, found in zip(ROWS, stats.logprobs, strict=True):
            own = own_logprobs(base, row)
            at = torch.tensor(row.response)[:, None]
            gap = (found[: len(row.response)] - own.gather(1, at)[:, 0]).abs().max()
            assert float(gap) <= LOGPROBS, f"{base.source.base}: {float(gap):.2g} nats apart"


def _check_decoding(base: Base) -> None:
    """Every step's distribution, rows of 1 to 8 tokens side by side, one leaving on the way."""
    rows = [0, 1, 2, 3]
    wanted = []
    with torch.no_grad():
        wanted = [own_logprobs(base, row) for row in ROWS]
        made = decoder(base, [row.prompt for row in ROWS], length=4)
        logits = made.start()
        for step in range(3):
            for at, row in enumerate(rows):
                gap = (logits[at].log_softmax(-1) - wanted[row][step]).abs().max()
                assert float(gap) <= 5 * LOGPROBS, f"{base.source.base}: {float(gap):.2g} nats"
            if step == 1:
                rows = [0, 2, 3]
                made.keep(torch.tensor(rows))
            logits = made.step(torch.tensor([ROWS[row].response[step] for row in rows]))


def _check_training(base: Base) -> None:
    """Gradients of an adapter on everything linear, against those of the library's forward."""
    roles = Roles(base, tiny_settings(target_modules="all-linear"))
    roles.add("policy", trainable=True)
    weights = roles.parameters("policy")
    draw = torch.Generator().manual_seed(1)
    for weight in weights:
        torch.nn.init.normal_(weight, std=0.05, generator=draw)
    with roles.acting("policy"):
        found = response_stats(base, lay(ROWS, base), temperature=1.0).logprobs.sum()
        ours = torch.autograd.grad(found, weights, allow_unused=True)
        total = torch.zeros(())
        for row in ROWS:
            own = own_logprobs(base, row)
            total = total + own.gather(1, torch.tensor(row.response)[:, None]).sum()
        theirs = torch.autograd.grad(total, weights, allow_unused=True)
    assert abs(float(found - total)) <= len(ROWS) * 5 * LOGPROBS
    assert [one is None for one in ours] == [one is None for one in theirs]
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]
    gap = math.sqrt(sum(float((a - b).square().sum()) for a, b in pairs))
    norm = math.sqrt(sum(float(b.square().sum()) for _, b in pairs))
    assert norm > 0
    assert gap <= GRADIENTS * norm, f"{base.source.base}: gradients {gap / norm:.2g} apart"


def _exact(base: Base) -> str:
    proofs, ways = base.proofs, []
    if proofs["head"].way != OUTPUT_EMBEDDINGS:
        ways.append("its own head")
    if "packing" in proofs and proofs["packing"].way != PACKED:
        ways.append("no shared rows")
    if proofs["padding"].way == ALONE:
        ways.append("rows one by one")
    if proofs["decoding"].way not in (decoding.SLOTS, decoding.PADDED):
        ways.append(f"sampling by {proofs['decoding'].way}")
    return f"exact, own path: {'; '.join(ways)}" if ways else "exact"


def _reason(error: ModelError) -> str:
    """The first part of what an error says."""
    return error.what.split(" (")[0]


@cache
def encoder_outcome(kind: str) -> Outcome:
    """An encoder with a head for one score: rows side by side, each against itself alone."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = make_encoder_classifier(Path(folder) / "encoder", kind, **ENCODERS[kind])
        settings = tiny_settings()
        base = load_base(resolve(str(path)), settings)
        scorer = Scorer.attach(str(path), Roles(base, settings), settings)
        words = ["good", "bad", "c", "d", "e", "f", "g", "h"]
        pairs = [(words[:n], words[n : 2 * n]) for n in (4, 1, 3)]
        encoder = scorer.encoder(settings)
        rows = []
        for prompt, answer in pairs:
            ask = [{"role": "user", "content": " ".join(prompt)}]
            say = [{"role": "assistant", "content": " ".join(answer)}]
            rows.append(encoder.pair(ask, say))
        found = scorer.scores([row for row in rows if row is not None], tokens=1000)
        for (prompt, answer), score in zip(pairs, found, strict=True):
            given = base.tokenizer(" ".join(prompt), " ".join(answer), return_tensors="pt")
            takes = set(inspect.signature(base.model.forward).parameters)
            if int(getattr(base.model.config, "type_vocab_size", 0) or 0) < 2:
                takes.discard("token_type_ids")
            with torch.no_grad():
                own = base.model(**{k: v for k, v in given.items() if k in takes}).logits[0, 0]
            assert abs(float(own - score)) <= LOGPROBS, f"{kind}: {float(own)} and {float(score)}"
        way = base.proofs["scores"].way
    return Outcome(kind, "exact" if way != ALONE else "exact, own path: rows one by one")


def table() -> str:
    """The document."""
    parts = [
        "# Conformance",
        "",
        "What we compute of a model is held against `model(ids).logits` when it is loaded "
        "(`workbench/models/self_test.py`). This table is what came of it, and of a stricter test, "
        f"for every family below in a tiny random model, by transformers {transformers.__version__}"
        " in fp32: log-probabilities of answers side by side (at most 1e-4 nats apart), every "
        "step of sampling against a forward of the whole sequence, and the gradients of an adapter "
        "on all linear layers (at most 1e-3 of their norm). Windows are shorter than the "
        "sequences. `tests/models/test_conformance.py` makes the table and fails where it is no "
        "longer true; `python -m tests.models.conformance` writes it.",
        "",
        "*exact*: with nothing to say. *exact, own path*: the same numbers, by a way of the "
        "model's own that is slower; a run says so. *refused*: loading ends with an error that "
        "says why.",
    ]
    sections = {
        "Causal language models": [causal_outcome(kind) for kind in causal_families()],
        "Models that also see (their text part)": [causal_outcome(kind) for kind in SEEING],
        "Encoders, as reward models": [encoder_outcome(kind) for kind in ENCODERS],
    }
    for title, outcomes in sections.items():
        parts += ["", f"## {title}: {len(outcomes)}", "", "| outcome | families |", "|---|---|"]
        groups: dict[str, list[str]] = {}
        for outcome in outcomes:
            groups.setdefault(outcome.text, []).append(outcome.family)
        for text in sorted(groups, key=lambda text: (-len(groups[text]), text)):
            parts.append(f"| {text} | {', '.join(groups[text])} ({len(groups[text])}) |")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    TABLE.write_text(table(), encoding="utf-8")

"""Tiny random models of every family that packs, and of some that must not."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from workbench.models.base import Base
from workbench.models.source import Source

from .tiny import EOS, PAD, make_tokenizer

WINDOW = 6
"""Shorter than the sequences of the tests."""

SIZES: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,  # far from uniform, so that a wrong context shows
    "pad_token_id": PAD,
    "eos_token_id": EOS,
    "bos_token_id": None,
}
GATED = {**SIZES, "intermediate_size": 48, "num_key_value_heads": 2}
HALF = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": WINDOW}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("llama", GATED),
    "Mistral": ("mistral", {**GATED, "sliding_window": WINDOW}),
    "Mistral without a window": ("mistral", {**GATED, "sliding_window": None}),
    "Qwen2": ("qwen2", {**GATED, **HALF, "use_sliding_window": True}),
    "Qwen3": ("qwen3", {**GATED, **HALF, "use_sliding_window": True, "head_dim": 8}),
    "Gemma 2": ("gemma2", {**GATED, **HALF, "head_dim": 8, "attn_logit_softcapping": 2.0}),
    "Gemma 3": ("gemma3_text", {**GATED, **HALF, "head_dim": 8}),
    "GPT-2": ("gpt2", SIZES),
    "GPT-NeoX": ("gpt_neox", {**SIZES, "intermediate_size": 48}),
    "Phi": ("phi", {**GATED, "partial_rotary_factor": 0.5}),
    "OPT": ("opt", {**SIZES, "ffn_dim": 48, "word_embed_proj_dim": 32}),
}


def make_family(name: str, *, attention: str | None = None, **changes: Any) -> Base:
    """A tiny random model of a family, in fp32, frozen."""
    kind, config = FAMILIES[name]
    return make_base(kind, attention=attention, **{**config, **changes})


def make_base(
    kind: str, *, causal: bool = True, attention: str | None = None, **config: Any
) -> Base:
    """A tiny random model from its config alone."""
    made = AutoConfig.for_model(kind, **config)
    given = {} if attention is None else {"attn_implementation": attention}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = (AutoModelForCausalLM if causal else AutoModel).from_config(made, **given)
    model = model.float().eval().requires_grad_(False)
    source = Source(f"tiny {kind}", None, f"tiny {kind}")
    return Base(model, make_tokenizer(), source, torch.device("cpu"), torch.float32, "none", (EOS,))

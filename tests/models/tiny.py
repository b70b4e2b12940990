"""A real Llama of two layers and a word-level tokenizer, made from their configs in a moment."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from workbench.models.base import Base, load_base
from workbench.models.source import resolve
from workbench.settings import PPOSettings, RunSettings

SPECIAL = ("<pad>", "<eos>", "<user>", "<assistant>", "<unk>")
WORDS = (*"abcdefghijklmnopqrstuvwxyz", "good", "bad")
PAD, EOS, USER, ASSISTANT, UNKNOWN = range(5)
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} "
    "{% if m['role'] == 'assistant' %}<eos> {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
Message = dict[str, str]
SHARED = {
    "seed": 0,
    "dtype": "auto",
    "lora_alpha": 32.0,
    "target_modules": "all-linear",
    "max_grad_norm": 1.0,
    "warmup_steps": 0,
    "warmup_share": 0.0,
    "schedule": "linear",
    "weight_decay": 0.0,
    "adam_epsilon": 1e-8,
    "checkpoint_every": 0,
    "gradient_checkpointing": False,
}
OWN: dict[str, dict[str, Any]] = {
    "sft": {},
    "reward": {"label_smoothing": 0.0, "centering": 0.01, "evaluate_every": 20},
    "dpo": {"beta": 0.1, "loss_type": "sigmoid", "label_smoothing": 0.0, "temperature": 1.0},
    "online_dpo": {"beta": 0.1, "loss_type": "sigmoid", "temperature": 1.0},
    "ppo": {
        "adam_epsilon": 1e-5,
        "samples_per_prompt": 1,
        "temperature": 1.0,
        "kl_coef": 0.05,
        "gamma": 1.0,
        "lam": 0.95,
        "clip_range": 0.2,
        "value_clip_range": 0.2,
        "value_coef": 0.5,
        "value": "adapter",
        "advantage": "gae",
        "whiten_advantages": True,
        "score_clip": 10.0,
        "missing_eos_penalty": 1.0,
        "target_kl": 0.0,
        "score_normalisation": "none",
        "length_penalty": 0.0,
        "kl_control": "fixed",
        "kl_estimator": "k1",
    },
}


def word(text: str) -> int:
    """The id of a word."""
    return len(SPECIAL) + WORDS.index(text)


def make_tokenizer(words: tuple[str, ...] = WORDS, **changes: Any) -> PreTrainedTokenizerFast:
    vocabulary = {w: i for i, w in enumerate((*SPECIAL, *words))}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    given: dict[str, Any] = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    given["extra_special_tokens"] = ["<user>", "<assistant>"]
    template = changes.pop("chat_template", TEMPLATE)
    if "specials" in changes:
        given["extra_special_tokens"] = changes.pop("specials")
    made = PreTrainedTokenizerFast(tokenizer_object=inner, **{**given, **changes})
    made.chat_template = template
    return made


def make_model(folder: Path, *, seed: int = 0, **changes: Any) -> Path:
    """Write a model and its tokenizer; ``changes`` go into the config, or into the tokenizer."""
    names = ("pad_token", "eos_token", "unk_token", "chat_template", "words", "specials")
    words = {name: changes.pop(name) for name in names if name in changes}
    config = LlamaConfig(
        **{
            "vocab_size": len(SPECIAL) + len(WORDS),
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": 128,
            "initializer_range": 0.15,  # far from uniform, so that a wrong context shows
            "pad_token_id": PAD,
            "eos_token_id": EOS,
            "bos_token_id": None,
            "tie_word_embeddings": False,
            **changes,
        }
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(str(folder))
    make_tokenizer(**words).save_pretrained(str(folder))
    return folder


def load(folder: Path | str, quantization: str = "none", **settings: Any) -> Base:
    return load_base(resolve(str(folder)), tiny_settings(quantization=quantization, **settings))


def tiny_settings(kind: type[RunSettings] = PPOSettings, **changes: Any) -> Any:
    """Settings for a few milliseconds a step; fp32 unless asked for nf4.

    What a default is may be tuned: tests stand on these.
    """
    few = {"quantization": "none", "device": "cpu", "lora_rank": 4, "max_length": 32}
    return kind(**{**few, **SHARED, **OWN[kind.kind], **changes})


def user(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def assistant(text: str) -> list[Message]:
    return [{"role": "assistant", "content": text}]

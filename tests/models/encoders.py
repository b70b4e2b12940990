"""Tiny random encoders and classifiers, with the tokenizers that theirs look like."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
)

from .tiny import WORDS, make_tokenizer

NAMES = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")
CLS, SEP = 1, 2
SIZES: dict[str, Any] = {
    "vocab_size": len(NAMES) + len(WORDS),
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.15,
    "pad_token_id": 0,
}
DEBERTA = {
    "type_vocab_size": 0,
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_buckets": 8,
    "position_biased_input": False,
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
}
KINDS: dict[str, dict[str, Any]] = {
    "bert": {},
    "deberta-v2": DEBERTA,
    "roberta": {"type_vocab_size": 1},
}


def make_encoder(folder: Path, kind: str = "bert", **changes: Any) -> Path:
    """Write a masked language model, as such models are pretrained, and its tokenizer."""
    config = AutoConfig.for_model(kind, **{**SIZES, **KINDS.get(kind, {}), **changes})
    return _written(
        AutoModelForMaskedLM, config, encoder_tokenizer(types=kind != "roberta"), folder
    )


def make_encoder_classifier(folder: Path, kind: str = "bert", **changes: Any) -> Path:
    """Write a sequence classifier on an encoder; one label unless told otherwise."""
    config = AutoConfig.for_model(
        kind, **{**SIZES, **KINDS.get(kind, {}), "num_labels": 1, **changes}
    )
    return _written(
        AutoModelForSequenceClassification,
        config,
        encoder_tokenizer(types=kind != "roberta"),
        folder,
    )


def make_classifier(folder: Path, model: Path, **changes: Any) -> Path:
    """Write a sequence classifier on a decoder, of the same shape as a tiny model."""
    config = AutoConfig.from_pretrained(str(model), **{"num_labels": 1, **changes})
    return _written(AutoModelForSequenceClassification, config, make_tokenizer(), folder)


def encoder_tokenizer(*, types: bool = True) -> PreTrainedTokenizerFast:
    vocabulary = {w: i for i, w in enumerate((*NAMES, *WORDS))}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    names = dict(zip(("pad", "cls", "sep", "unk", "mask"), NAMES, strict=True))
    given: dict[str, Any] = {f"{name}_token": token for name, token in names.items()}
    inputs = ["input_ids", *(["token_type_ids"] if types else []), "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=inner, model_input_names=inputs, **given)


def _written(kind: Any, config: Any, tokenizer: Any, folder: Path) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kind.from_config(config).save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder

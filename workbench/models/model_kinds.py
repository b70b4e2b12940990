"""What kind of model a folder holds: one that answers, or one that scores; decoder or encoder.

What scores is loaded as transformers' own sequence classifier, so that its pooling is theirs: a
decoder is read at its last token, an encoder by the head that it brings.
"""

from typing import Any

from torch import nn
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

CLASSIFIER = "ForSequenceClassification"
"""How transformers calls what scores whole sequences."""


def is_encoder(config: Any) -> bool:
    """Whether every token sees the whole sequence, and a head reads it (BERT and its kin)."""
    if getattr(config, "is_encoder_decoder", False) or getattr(config, "is_decoder", False):
        return False
    return str(config.model_type) in MODEL_FOR_MASKED_LM_MAPPING_NAMES


def is_classifier(config: Any) -> bool:
    """Whether the weights were saved with a head that scores sequences."""
    names: list[str] = getattr(config, "architectures", None) or []
    return any(name.endswith(CLASSIFIER) for name in names)


def head_names(model: nn.Module) -> list[str]:
    """Modules of a sequence classifier that read what its trunk has made: trained with a head."""
    trunk = str(getattr(model, "base_model_prefix", ""))
    own = [
        name
        for name, module in model.named_children()
        if name != trunk and any(True for _ in module.parameters())
    ]
    inside = getattr(getattr(model, trunk, None), "pooler", None)
    return own if inside is None else [f"{trunk}.pooler", *own]


def last_linear(modules: nn.Module) -> nn.Linear:
    """The layer of a head that gives the score."""
    found = [module for module in modules.modules() if isinstance(module, nn.Linear)]
    return found[-1]

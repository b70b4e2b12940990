"""What kind of model a folder holds: one that answers, or one that scores; decoder or encoder.

What scores is loaded as transformers' own sequence classifier, so that its pooling is theirs: a
decoder is read at its last token, an encoder by the head that it brings.
"""

import re
from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd  # pyright: ignore[reportPrivateUsage]
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES
from transformers.pytorch_utils import Conv1D

OF_EXPERTS = frozenset(("gate", "gate_proj", "up_proj", "down_proj", "w1", "w2", "w3"))
"""Names by which PEFT knows experts and their router."""
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


def beside_text(model: Any) -> list[str]:
    """Modules of a model that also sees or hears which no text goes through: towers, projectors.

    The names of whole subtrees; none for a model of text alone.
    """
    text = model.get_decoder() if hasattr(model, "get_decoder") else model
    names = {id(module): name for name, module in model.named_modules()}
    if model.config.get_text_config() is model.config or not names.get(id(text)):
        return []
    on_the_way, head = names[id(text)], model.get_output_embeddings()
    subtrees: list[str] = []

    def walk(module: nn.Module, path: str) -> None:
        for name, child in module.named_children():
            inner = f"{path}.{name}" if path else name
            if inner == on_the_way or child is head:
                continue
            if on_the_way.startswith(f"{inner}."):
                walk(child, inner)
            elif any(True for _ in child.parameters()):
                subtrees.append(inner)

    walk(model, "")
    return subtrees


def media_ids(config: Any) -> set[int]:
    """Ids in whose places a model expects images, video or sound."""
    tables = [config, config.get_text_config()]
    return {
        int(value)
        for table in tables
        for name, value in table.to_dict().items()
        if name.endswith(("_token_id", "_token_index"))
        and name.startswith(("image", "video", "vision", "audio", "boi", "eoi", "boa", "eoa"))
        and isinstance(value, int)
        and value >= 0
    }


def text_weights(model: Any) -> list[nn.Parameter]:
    """All weights but those that no text goes through."""
    towers = beside_text(model)
    return [weight for name, weight in model.named_parameters() if not _within(name, towers)]


def expert_weights(model: Any) -> list[str]:
    """Parameters that hold all experts of a layer in one table, ``(experts, ., .)``."""
    text = model.config.get_text_config().to_dict()
    counts = {v for k, v in text.items() if "expert" in k and isinstance(v, int) and v > 1}
    convolutions = {n for n, m in model.named_modules() if isinstance(m, _ConvNd)}
    return [
        name
        for name, weight in model.named_parameters()
        if weight.dim() == 3
        and weight.shape[0] in counts
        and name.rpartition(".")[0] not in convolutions
    ]


def beside_experts(model: Any) -> list[str]:
    """Linear layers of a mixture of experts that are no part of its mixtures: its attention.

    By the ends of their names where these are theirs alone. Routers, shared experts and the dense
    layers that some mixtures begin with stay as they are too: they stand in the mixtures' places.
    """
    head, towers = model.get_output_embeddings(), beside_text(model)
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
        # PEFT would take these for experts, whatever they are
        if name.rpartition(".")[2] not in OF_EXPERTS
    ]
    mixtures = {name.rsplit(".", 2)[0] for name in expert_weights(model)}
    places = {_place(mixture) for mixture in mixtures}
    text = [name for name in linear if not _within(name, towers)]
    # where layers of several kinds have one name, only those that hold experts are left out
    taken = [name for name in text if not _within(_place(name), places)]
    taken = taken or [name for name in text if not _within(name, mixtures)]
    ends = {name.rpartition(".")[2] for name in taken}
    others = {name.rpartition(".")[2] for name in linear if name not in taken}
    return taken if ends & others else sorted(ends)


def read_by_kernels(model: nn.Module) -> list[str]:
    """Linear layers of Mamba's kind that a GPU's kernel reads without calling them.

    An adapter there would be left out without a word.
    """
    return [
        f"{name}.out_proj"
        for name, module in model.named_modules()
        if isinstance(getattr(module, "out_proj", None), nn.Module)
        and hasattr(module, "conv1d")
        and isinstance(getattr(module, "D", None), nn.Parameter)
    ]


def _within(name: str, trees: Iterable[str]) -> bool:
    return any(f"{name}.".startswith(f"{tree}.") for tree in trees)


def _place(name: str) -> str:
    """A module's name without the numbers of layers."""
    return re.sub(r"\.\d+(?=\.|$)", "", name)


def last_linear(modules: nn.Module) -> nn.Linear:
    """The layer of a head that gives the score."""
    layers = [module for module in modules.modules() if isinstance(module, nn.Linear)]
    return layers[-1]

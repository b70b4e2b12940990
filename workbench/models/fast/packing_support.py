"""Which models may see several answers to one prompt in a single sequence."""

from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from workbench.models.fast.attention import PREFIX

#: Families whose packed scores and gradients are tested against separate forward passes
#: (`tests/models/fast/test_packing.py`): attention and positions are all that joins their tokens.
TESTED = frozenset(
    (
        "gemma2",
        "gemma3_text",
        "gpt2",
        "gpt_neox",
        "llama",
        "mistral",
        "opt",
        "phi",
        "qwen2",
        "qwen3",
    )
)
#: Attention that can be run in each sequence by itself.
ATTENTION = frozenset(("sdpa", "eager"))
#: Rotary angles of these kinds depend on the longest row of a batch.
BY_LENGTH = frozenset(("dynamic", "longrope"))
_refused: "WeakKeyDictionary[nn.Module, str]" = WeakKeyDictionary()


def refuse_packing(model: nn.Module, why: str) -> None:
    """From now on :func:`packs` says this of a model: it was tried, and is not exact."""
    _refused[model] = why


def packs(model: nn.Module) -> str | None:
    """Why a model's comparisons must go through as separate sequences; None where they pack.

    A family that is not on the list may give wrong scores without a word: ALiBi models count
    slots, not positions, and in an encoder the prompt would see the answers.
    """
    if model in _refused:
        return _refused[model]
    config: Any = model.config
    kind, attention = str(config.model_type), str(config._attn_implementation)
    if kind not in TESTED or not type(model).__module__.startswith("transformers.models."):
        return f"models of the kind {kind} are not on the tested list"
    if getattr(config, "use_bidirectional_attention", False):
        return "a token of this model also sees what comes after it"
    scaling = rope_kinds(config) & BY_LENGTH
    if scaling:
        return f"the model's rotary angles ({', '.join(scaling)}) depend on the longest row"
    if attention.removeprefix(PREFIX) not in ATTENTION:
        return f"the model's attention is {attention}, neither sdpa nor eager"
    return None


def rope_kinds(config: Any) -> set[str]:
    """Kinds of rotary scaling that a config names: one for all layers, or one a layer type."""
    parameters: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    tables = [parameters, *(value for value in parameters.values() if isinstance(value, dict))]
    return {str(table["rope_type"]) for table in tables if "rope_type" in table}

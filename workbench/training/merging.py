"""One model out of a base and an adapter, in 16 or 32 bits; never into 4."""

import json
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from workbench.errors import ModelError
from workbench.models.source import CARD, Source, resolve
from workbench.training.checkpoint import replace_folder

# their types are not complete; ours are strict here
_Models: Any = AutoModelForCausalLM
_Tokenizers: Any = AutoTokenizer
_Adapters: Any = PeftModel
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def merge(model: str, out: Path, *, dtype: str) -> dict[str, Any]:
    """Add a policy's adapter to its base's full weights, and write the sum as a model by itself.

    The base is loaded from its own files, not from the 4-bit copy that training stood on: adding
    an adapter to 4-bit weights would round them again, and what was learned with them. The merged
    model therefore answers a little differently from the run's 4-bit policy.

    Args:
        model: a run of SFT or PPO, or an adapter's folder.
        out: made here; transformers loads it alone.
        dtype: of the merged weights: bfloat16, float16 or float32.

    Returns:
        What ``workbench.json`` in the folder says: base, adapter, dtype, what training stood on.

    Raises:
        ModelError: there is no adapter to merge, it is a reward model's, or the base's own files
            are quantised.
    """
    source = resolve(model)
    source.check_answers()
    if source.adapter is None:
        raise ModelError(
            "there is no adapter to merge",
            where=model,
            fix="give a run of train_sft or train_ppo; a base is whole as it is",
        )
    base = _Models.from_pretrained(source.base, dtype=DTYPES[dtype])
    if getattr(base, "is_quantized", False):
        raise ModelError(
            "the base's own files are quantised, and merging would round them again",
            where=source.base,
            fix="train on the base in 16 bits (the workbench quantises it by itself), or use the "
            "adapter as it is",
        )
    merged = _Adapters.from_pretrained(base, str(source.adapter)).merge_and_unload(
        safe_merge=True  # refuses what is not finite
    )
    told = _told(source, dtype)

    def write(folder: Path) -> None:
        merged.save_pretrained(str(folder))
        _Tokenizers.from_pretrained(str(source.adapter)).save_pretrained(str(folder))
        (folder / CARD).write_text(json.dumps(told, indent=2, sort_keys=True) + "\n")

    out.parent.mkdir(parents=True, exist_ok=True)
    replace_folder(out, write)
    return told


def _told(source: Source, dtype: str) -> dict[str, Any]:
    assert source.adapter is not None
    file = source.adapter / CARD
    card: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    return {
        "kind": "merged",
        "base": source.reference,
        "merged_from": str(source.adapter),
        "dtype": dtype,
        "trained_on": {name: card.get(name) for name in ("quantization", "dtype")},
    }

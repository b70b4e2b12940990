"""Tell a base from another of the same shape: an adapter for one means nothing on the other."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from workbench.models.source import Source

VALUES = 16
"""Of each tensor so many values count."""


def fingerprint(source: Source) -> str | None:
    """A digest of some values of every tensor in the base's files; None where there are none.

    It is read from the files, so that neither quantisation nor the dtype of a run changes it, and
    rounded to bfloat16, so that the same weights saved in another precision are the same.
    """
    folder = _folder(source)
    files = sorted(folder.glob("*.safetensors")) if folder is not None else []
    seen: dict[str, bytes] = {}
    for path in files:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  not a mapping
                seen[name] = _some(file.get_slice(name))
    if not seen:
        return None
    digest = hashlib.sha256()
    for name in sorted(seen):
        digest.update(name.encode() + b"\0" + seen[name])
    return digest.hexdigest()[:32]


def _some(part: Any) -> bytes:
    """Shape and first values of a tensor, of which only those are read."""
    shape: list[int] = part.get_shape()
    index = (*(slice(0, 1) for _ in shape[:-1]), slice(0, VALUES))
    values: Tensor = part[index] if shape else part[...]
    rounded = values.flatten().to(torch.bfloat16).view(torch.int16)
    return repr((shape, rounded.tolist())).encode()


def _folder(source: Source) -> Path | None:
    """Where the base's files are on this machine."""
    folder = Path(source.base)
    if folder.is_dir():
        return folder
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(source.base, "config.json")
    except HFValidationError:  # a folder that is gone
        return None
    return Path(config).parent if isinstance(config, str) else None

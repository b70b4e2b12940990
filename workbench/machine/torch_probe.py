"""Imports torch and the other libraries and tries the device, in a process that may crash.

``python -m workbench.machine.torch_probe NAME ...`` imports each name and tries the device and 4
bits. It prints a JSON object a line: before each thing its name under ``begun``, after it what was
found. A process that ends early has said what it was at.
"""

import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

_WORST = 0.2
"""Of a weight, as a share of the weights' deviation, that 4 bits may be off; NF4 is at 0.1."""


def main(names: list[str]) -> None:
    """Import these packages, torch first, and try the device; 4 bits come last."""
    for name in sorted(names, key=lambda name: name != "torch"):
        _tell(f"import {name}", lambda name=name: _imported(name))
        if name == "torch" and name in sys.modules:
            _tell("device", _device)
    if {"torch", "bitsandbytes"} <= sys.modules.keys():
        _tell("4-bit", _four_bits)


def _tell(what: str, look: Callable[[], dict[str, Any]]) -> None:
    print(json.dumps({"begun": what}), flush=True)  # noqa: T201
    try:
        facts = look()
    except BaseException as error:  # a broken library may raise anything, SystemExit too
        lines = str(error).strip().splitlines()
        facts = {"error": f"{type(error).__name__}: {lines[0] if lines else ''}".rstrip(": ")}
    print(json.dumps({"what": what, **facts}), flush=True)  # noqa: T201


def _imported(name: str) -> dict[str, Any]:
    module = importlib.import_module(name)
    return {"file": str(getattr(module, "__file__", "") or "")}


def _device() -> dict[str, Any]:
    import torch

    built = {"torch": torch.__version__, "cuda": torch.version.cuda or torch.version.hip}
    if not torch.cuda.is_available():
        return {**built, "gpu": None, "threads": torch.get_num_threads()}
    free, size = torch.cuda.mem_get_info()
    torch.ones(
        8, 8, device="cuda"
    ).sum().item()  # a card that this build has no code for fails here
    return {
        **built,
        "gpu": torch.cuda.get_device_name(),
        "gpus": torch.cuda.device_count(),
        "capability": list(torch.cuda.get_device_capability()),
        "free": free,
        "size": size,
    }


def _four_bits() -> dict[str, Any]:
    import torch
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    device = "cuda" if torch.cuda.is_available() else "cpu"
    weights = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)).to(device)
    packed, state = quantize_4bit(weights, quant_type="nf4")
    off = float((dequantize_4bit(packed, state) - weights).square().mean().sqrt())
    if not off < _WORST:
        raise ValueError(f"weights come back {off:.2f} deviations off")
    return {"off": off, "device": device}


if __name__ == "__main__":
    main(sys.argv[1:])

"""The device: a GPU or not, its memory, 4 bits, and the traps between a card and torch."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.machine.findings import MachineFact
from workbench.machine.libraries import Probed

GB = 1e9
SMALL = 2 * GB
"""Free bytes of memory below which even small models are a squeeze."""
_NO_BFLOAT16 = 8
"""The first digit of a CUDA capability that has bfloat16; below it float16 is used."""


def device_findings(probed: Probed) -> list[MachineFact]:
    """What trains, how much memory is there, and whether 4 bits work."""
    row = probed.found.get("device", {})
    cards = nvidia_cards()
    return [_device(row, cards), *_gpu_memory(row), _memory(), *_four_bits(probed)]


def nvidia_cards() -> list[str]:
    """The NVIDIA cards that the driver knows, by name; empty where it says nothing."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        command = [tool, "--query-gpu=name", "--format=csv,noheader"]
        output = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return []
    names = [line.strip() for line in output.stdout.splitlines() if line.strip()]
    return [] if output.returncode else names


def _device(row: Mapping[str, Any], cards: list[str]) -> MachineFact:
    if "error" in row:
        fix = (
            "install a torch made for this card and its driver (pytorch.org says which), or hide "
            "the card: CUDA_VISIBLE_DEVICES='' in the shell that starts Jupyter"
        )
        return MachineFact("device", "failed", f"torch cannot use it: {row['error']}", fix)
    if not row:
        return MachineFact(
            "device", "failed", "not looked at: torch cannot be imported", "mend torch"
        )
    if row.get("gpu"):
        return _card(row)
    cpu = f"no GPU: the CPU, {os.cpu_count()} cores, {row.get('threads')} of them for torch"
    if not cards:
        one = row.get("threads") == 1 and (os.cpu_count() or 1) > 1
        few = "unset OMP_NUM_THREADS, or set it to the cores" if one else ""
        return MachineFact("device", "look" if few else "ok", cpu, few)
    named = f"{cpu}, although the driver knows {', '.join(cards)}"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.strip() in ("", "-1", "NoDevFiles"):
        why, fix = f"CUDA_VISIBLE_DEVICES={hidden!r} hides it", "unset CUDA_VISIBLE_DEVICES"
    elif not row.get("cuda"):
        why = f"torch {row.get('torch')} is a build without CUDA"
        fix = "install a CUDA build of torch (pytorch.org says which), then start the kernel anew"
    else:
        why = f"torch {row.get('torch')} was built for CUDA {row['cuda']} and sees no card"
        fix = (
            f"update the driver to one for CUDA {row['cuda']}, or install a torch for an older CUDA"
        )
    return MachineFact("device", "look", f"{named}: {why}", fix)


def _card(row: Mapping[str, Any]) -> MachineFact:
    capability = row.get("capability", [0])
    kind = "bfloat16" if capability[0] >= _NO_BFLOAT16 else "float16, for it has no bfloat16"
    more = f"; {row['gpus']} are here, a run uses one" if row.get("gpus", 1) > 1 else ""
    size = row.get("size", 0) / GB
    words = f"{row['gpu']}, {size:.0f} GB, computes in {kind}; torch {row['torch']}{more}"
    return MachineFact("device", "ok", words)


def _gpu_memory(row: Mapping[str, Any]) -> list[MachineFact]:
    if not row.get("gpu") or "error" in row:
        return []
    free, size = row["free"], row["size"]
    words = f"{free / GB:.1f} of {size / GB:.1f} GB are free"
    if free >= size / 2:
        return [MachineFact("GPU memory", "ok", words)]
    fix = "something else uses the card (nvidia-smi lists what): end it, or plan with wb.plan"
    return [MachineFact("GPU memory", "look", words, fix)]


def _memory() -> MachineFact:
    free, limit = free_bytes(), memory_limit()
    if free is None:
        return MachineFact(
            "memory", "look", "this system does not say how much is free", "see wb.plan"
        )
    bounded = limit is not None and limit < free
    usable = min(free, limit) if limit is not None else free
    words = f"{usable / GB:.1f} GB free"
    if bounded:
        words += f" (this container's limit; the machine has {free / GB:.1f} GB)"
    fix = "close other programs and kernels; small models and quantization='nf4' need the least"
    return (
        MachineFact("memory", "look", words, fix)
        if usable < SMALL
        else MachineFact("memory", "ok", words)
    )


def free_bytes(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Free bytes of the machine's memory; None where the system does not tell."""
    try:
        table = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return int(table["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (OSError, ValueError):
        return None


def memory_limit(groups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What is left of a container's limit [bytes], for both versions of control groups, or None."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            left = int((groups / limit).read_text()) - int((groups / used).read_text())
        except (OSError, ValueError):  # "max": there is none
            continue
        return max(left, 0)
    return None


def _four_bits(probed: Probed) -> list[MachineFact]:
    row = probed.found.get("4-bit")
    if row is None:
        return []  # torch or bitsandbytes is not there, which has been said
    if error := row.get("error"):
        fix = "install bitsandbytes again, for this torch; until then quantization='none'"
        return [MachineFact("4-bit", "look", f"does not work here: {error}", fix)]
    where = "the GPU" if row.get("device") == "cuda" else "the CPU"
    return [
        MachineFact(
            "4-bit", "ok", f"NF4 works on {where}: weights are {row['off']:.2f} deviations off"
        )
    ]

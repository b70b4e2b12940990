"""The peer's environments, and two sides measured in turn."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from record import ROOT

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "rlhf-workbench-peers"


def environment(trl: str) -> str:
    """The Python of an environment with this release of TRL, made on first use.

    What both sides use (torch, transformers, peft, accelerate) is of the versions we test with.
    """
    folder = CACHE / f"trl-{trl}"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        print(f"making the peer's environment in {folder} (some minutes, once)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pinned = (ROOT / "constraints.txt").read_text().splitlines()
        shared = ("torch==", "transformers==", "peft==", "accelerate==")
        wanted = [line for line in pinned if line.startswith(shared)]
        install = [python, "-m", "pip", "install", "-q", *wanted, f"trl=={trl}"]
        subprocess.run(install, check=True)
        (folder / "complete").touch()
    return str(python)


def one(python: str, script: str, *arguments: object) -> dict:
    """Run one side in a process of its own; what its last line says."""
    path = Path(__file__).with_name(script)
    inherited = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(
        [python, str(path), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=inherited,
    )
    return json.loads(found.stdout.splitlines()[-1])


def in_turn(sides: dict[str, Callable[[], dict]], times: int) -> dict[str, list[dict]]:
    """Measure the sides one after the other, so often: a slow minute of the machine hits all."""
    found: dict[str, list[dict]] = {name: [] for name in sides}
    for _ in range(times):
        for name, side in sides.items():
            found[name].append(side())
    return found


def median(rows: list[dict], value: Callable[[dict], float]) -> float:
    """The median of a figure over runs."""
    return statistics.median(map(value, rows))

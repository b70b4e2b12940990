"""The peer's environments, and a side of a comparison in a process of its own."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from record import ROOT

HERE = Path(__file__).parent
CACHE = Path(
    os.environ.get("WORKBENCH_BENCH_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "workbench-bench"
)


def peer_python(peer: str) -> Path:
    """The environment of ``trl==VERSION``, made where it is not there; the rest as we tested it."""
    folder = CACHE / peer.replace("==", "-")
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    print(f"making the peer's environment in {folder} (some minutes)", flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        # the peer brings packages that we do not have; those that we have stay as they are
        file.write((ROOT / "constraints.txt").read_text())
        file.flush()
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        wanted = ["torch", "transformers", "peft", "accelerate", peer]
        subprocess.run([*pip, "-c", file.name, *wanted], check=True)
    (folder / "complete").touch()
    return python


def child(python: Path | str, script: str, *given: object) -> dict:
    """Run one side in a process of its own; its last line is its figures."""
    paths = os.pathsep.join([str(ROOT), str(HERE)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(python), str(HERE / script), *map(str, given)],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{script} {given}: {done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def median(rows: list[dict], value: Callable[[dict], float]) -> float:
    """The median of a figure over runs."""
    return statistics.median(map(value, rows))

"""What is acknowledged survives SIGKILL at any moment: ten kills every day, two hundred in soak."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "tests" / "benchmarks" / "labels_kills.py"

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")


def kills(count: int, timeout: float) -> dict[str, Any]:
    """Run the benchmark in a process of its own, which starts the ones that are killed."""
    paths = os.pathsep.join([str(ROOT), str(SCRIPT.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", str(count)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def holds(found: dict[str, Any], count: int) -> None:
    assert found["kills"] == count and found["acknowledged"] > 5 * count
    assert (found["lost"], found["doubled"], found["unclean"]) == (0, 0, 0)
    assert found["unacknowledged"] <= count  # at most the label under way at each death


def test_ten_kills_lose_no_acknowledged_label() -> None:
    holds(kills(10, timeout=200), 10)


@pytest.mark.slow
def test_two_hundred_kills_lose_no_acknowledged_label() -> None:
    holds(kills(200, timeout=3000), 200)

"""A run that was killed goes on as if it had not been: three kills every day, twenty in soak."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "benchmarks" / "run_kills.py"

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")


@pytest.fixture(scope="module")
def killed() -> dict[str, dict[str, Any]]:
    """Each kind of run, killed three times, by the benchmark in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", "3"],
        capture_output=True,
        text=True,
        timeout=380,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(SCRIPT.parent)])},
    )
    assert done.returncode in (0, 1) and done.stdout.startswith("{"), done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", ["reward", "dpo", "online_dpo", "ppo"])
def test_a_run_killed_three_times_equals_one_that_was_not(killed, kind):
    found = killed[kind]
    assert (found["kills"], found["different"]) == (3, []), found

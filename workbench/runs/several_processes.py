"""A run in several processes: whether they were launched, and starting those that were not.

``accelerate launch`` starts a process for each GPU. Processes on CPUs it leaves to MPI, and
without that it starts one, whatever number it was given; the others are then started here.
"""

import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from workbench.errors import ConfigError


def processes() -> int:
    """How many processes were launched to do one run together; 1 where this one is alone."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this is the process that writes the run folder."""
    return int(os.environ.get("RANK", "0")) == 0


def start_all(arguments: Sequence[str], parent: Sequence[str] | None = None) -> None:
    """Become the launcher of all CPU processes where ``accelerate launch`` has started one only.

    Args:
        arguments: the command line, without the program.
        parent: the launcher's own command line; None looks it up.

    Raises:
        ConfigError: several were asked for, and how many cannot be found out.
    """
    several = {"MASTER_ADDR", "ACCELERATE_USE_CPU"} <= os.environ.keys()
    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    if not (several and on_cpu) or "WORLD_SIZE" in os.environ or "PMI_SIZE" in os.environ:
        return
    count = _count(_parent() if parent is None else parent)
    if count is None:
        raise ConfigError(
            "accelerate has started one CPU process of several, and does not say how many",
            where="accelerate launch",
            fix="write accelerate launch --num_processes N --cpu -m workbench …, with N on the "
            "command line",
        )
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    command = [sys.executable, *launcher, "-m", "workbench", *arguments]
    os.execv(sys.executable, command)


def _count(command: Sequence[str]) -> int | None:
    """The number behind ``--num_processes``."""
    words = [part for word in command for part in word.split("=", 1)]
    for word, value in pairwise(words):
        if word.replace("-", "_") == "__num_processes" and value.isdigit():
            return int(value)
    return None


def _parent() -> list[str]:
    try:
        return Path(f"/proc/{os.getppid()}/cmdline").read_text().split("\0")
    except OSError:
        return []

"""Seconds by phase and peak memory of this process."""

import resource
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

import torch


class Clock:
    """Adds up wall-clock seconds by phase."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Generator[None, None, None]:
        """Count the time inside the block as this phase's."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def total(self) -> float:
        """Seconds since the clock was made."""
        return time.perf_counter() - self._start


def peak_memory_gb(device: torch.device) -> float:
    """Peak memory in GB (1e9 bytes): the GPU's allocator, or the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024  # macOS reports bytes, Linux kibibytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9

import resource
import sys
import time

import pytest
import torch

from workbench.training.clock import Clock, peak_memory_gb


def test_seconds_add_up_by_phase():
    clock = Clock()
    for _ in range(2):
        with clock.phase("generate"):
            time.sleep(0.05)
    with pytest.raises(ZeroDivisionError), clock.phase("score"):
        _ = 1 / 0
    assert clock.seconds["generate"] >= 0.1
    assert 0.0 <= clock.seconds["score"] < clock.seconds["generate"]
    assert clock.total() >= sum(clock.seconds.values())


def test_peak_memory_on_a_cpu_is_the_process_in_gigabytes():
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    assert peak_memory_gb(torch.device("cpu")) == pytest.approx(peak, rel=0.05)

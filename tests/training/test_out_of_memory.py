"""Memory that ran out is told from other faults."""

import pytest
import torch

from workbench.training.out_of_memory import ran_out


@pytest.mark.parametrize(
    ("error", "so"),
    [
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("not enough memory"), False),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
    ],
)
def test_memory_that_ran_out_is_told_from_other_faults(error, so):
    assert ran_out(error) is so

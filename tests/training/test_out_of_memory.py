"""Memory that stays with the process, and that is told to have run out."""

import ctypes
import platform
import resource

import pytest
import torch

from workbench.training.out_of_memory import keep_freed, ran_out

BLOCK, BLOCKS, TIMES = 2**22, 4, 20  # float32: 16 MiB, so many at once, so many times


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def step():
    blocks = [torch.empty(BLOCK).fill_(1.0) for _ in range(BLOCKS)]
    blocks.clear()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_blocks_that_are_freed_are_not_asked_of_the_kernel_again():
    assert keep_freed()
    step()
    before = faults()
    for _ in range(TIMES):
        step()
    pages = TIMES * BLOCKS * BLOCK * 4 // resource.getpagesize()
    assert faults() - before < pages / 10


@pytest.mark.parametrize("error", [AttributeError, OSError, TypeError])
def test_another_c_library_is_left_as_it_is(monkeypatch, error):
    def none(_name):
        raise error

    monkeypatch.setattr(ctypes, "CDLL", none)
    assert not keep_freed()


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

"""Memory that ran out: told from other faults, and given back."""

import gc

import torch

_ON_CPU = ("can't allocate memory", "not enough memory")  # torch's allocator, Linux and Windows


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice, on a GPU or in the machine."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _ON_CPU)


def give_back() -> None:
    """Free what the failed try still held (call it outside of the ``except`` block)."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

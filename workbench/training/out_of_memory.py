"""Memory: kept between steps; told from other faults where it ran out, and given back then."""

import ctypes
import gc

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)
_MOST_KEPT = 2**31 - 1
_LARGEST = 32 * 2**20  # bytes; larger blocks come from the kernel, and go back to it, each time
_ON_CPU = ("can't allocate memory", "not enough memory")  # torch's allocator, Linux and Windows


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice, on a GPU or in the machine."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _ON_CPU)


def keep_freed() -> bool:
    """Let this process keep what it frees, for its next step: the C library would hand it back.

    Every step of a run on a CPU asks for the same blocks again, and each page that the kernel
    hands out anew costs a fault and is filled with zeros first. The peak does not change.

    Returns:
        Whether the C library can do so (glibc can).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or none by this name
        return False
    return bool(mallopt(_TRIM_THRESHOLD, _MOST_KEPT) and mallopt(_MMAP_THRESHOLD, _LARGEST))


def give_back() -> None:
    """Free what the failed try still held (call it outside of the ``except`` block)."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

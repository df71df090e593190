"""Memory of long runs."""

from __future__ import annotations

import ctypes


def release_free_blocks() -> None:
    """Return free blocks of the heap to the system. This needs glibc; with other libraries nothing happens.

    Batches that one thread makes and another one frees leave holes between the blocks of the steps.
    Without this, resident memory grows by about a batch a step although nothing is kept. Having glibc map
    every large block separately would prevent it too, but makes the steps of a small model take 1.6 times
    as long.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

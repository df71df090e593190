"""Memory of long runs."""

from __future__ import annotations

import ctypes

M_MMAP_THRESHOLD = -3  # of malloc.h
THRESHOLD_BYTES = 2**20


def return_large_blocks() -> None:
    """Have glibc give blocks of 1 MiB and more back as soon as they are freed.

    By itself it raises that limit to the largest block that was ever freed, up to 32 MiB. Batches that
    one thread makes and another one frees then leave holes between those of the steps, and resident
    memory grows by about a batch a step although nothing is kept. Elsewhere than on glibc: nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, THRESHOLD_BYTES)

"""Threads that compute side by side."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads, each with its share of those that torch computes one operation with.

    A core that works on a batch of its own never waits for another, which cores that share every small
    operation do: on a busy machine most of the time.
    """
    threads = torch.get_num_threads()
    executor = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(max(1, threads // workers),))
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)
        # What one thread is set to is the start value of threads that come later.
        torch.set_num_threads(threads)

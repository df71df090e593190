"""Threads that share torch's own."""

from __future__ import annotations

import threading

import pytest
import torch

from clipn.utils import threads


@pytest.mark.parametrize(("all_threads", "workers", "each"), [(4, 2, 2), (2, 3, 1), (3, 1, 3)])
def test_each_worker_has_its_share(all_threads: int, workers: int, each: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(all_threads)
    try:
        met = threading.Barrier(workers)

        def work(_: int) -> int:
            met.wait(10)  # so that no worker does the work of two
            return torch.get_num_threads()

        with threads.pool(workers) as pool:
            assert list(pool.map(work, range(workers))) == [each] * workers
        assert torch.get_num_threads() == all_threads
    finally:
        torch.set_num_threads(before)


def test_what_has_not_begun_is_given_up_after_an_error() -> None:
    begun: list[int] = []
    go = threading.Event()

    def fail() -> None:
        with threads.pool(1) as pool:
            pool.submit(go.wait, 10)
            pool.submit(begun.append, 1)
            threading.Timer(0.05, go.set).start()
            raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        fail()
    assert begun == []

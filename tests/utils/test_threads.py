"""Threads that share torch's own, and work that runs ahead: order, errors, and an end."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress

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


def test_workers_can_have_a_number_of_their_own() -> None:
    with threads.pool(1, torch_threads_each=3) as pool:
        assert pool.submit(torch.get_num_threads).result() == 3


@pytest.mark.parametrize(("count", "within"), [(3, 3), (None, 2)])
def test_the_number_of_threads_is_put_back_after_an_error(count: int | None, within: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with suppress(ZeroDivisionError), threads.torch_threads(count):
            assert torch.get_num_threads() == within
            torch.set_num_threads(4)
            raise ZeroDivisionError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_whoever_does_not_use_torch_does_not_pay_for_it() -> None:
    code = "import sys; from clipn.utils import threads as t; print(list(t.prefetch('ab', 1)), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['a', 'b'] False\n"


def test_order_is_kept() -> None:
    assert list(threads.prefetch(range(100), 3)) == list(range(100))


def test_an_error_comes_after_what_came_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("bad shard")

    running = threads.prefetch(items(), 2)
    assert next(running) == 1
    with pytest.raises(ValueError, match="bad shard"):
        next(running)


def test_works_ahead_but_not_further_than_asked() -> None:
    made = threading.Semaphore(0)
    count = 0

    def items() -> Iterator[int]:
        nonlocal count
        for count in range(1, 100):
            made.release()
            yield count

    running = threads.prefetch(items(), 2)
    assert next(running) == 1
    for _ in range(4):  # the one taken, two waiting, one that waits for its place
        assert made.acquire(timeout=5)
    assert not made.acquire(timeout=0.3)
    assert count == 4
    running.close()


def test_closing_ends_the_thread() -> None:
    before = threading.active_count()
    running = threads.prefetch(iter(int, 1), 1)  # endless
    next(running)
    assert threading.active_count() == before + 1
    running.close()
    assert threading.active_count() == before

"""Threads that compute side by side, and work that runs ahead in one. torch is imported where it is needed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")

_END = object()


@contextmanager
def torch_threads(count: int | None = None) -> Iterator[None]:
    """Put torch's number of threads back at the end of the block.

    What one thread sets it to is the start value of all threads that come later, so whoever changes it has to do this.

    Args:
        count: threads that compute one operation within the block; None leaves the number as it is.
    """
    import torch

    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def pool(workers: int, torch_threads_each: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """Start threads, and end them with the block; work that has not begun by then is dropped.

    A core that works on a batch of its own never waits for another, which cores that share every small
    operation do: on a busy machine most of the time.

    Args:
        workers: number of threads.
        torch_threads_each: torch threads that compute one operation of a worker; None for an equal share of those
            that there are.
    """
    import torch

    each = torch_threads_each or max(1, torch.get_num_threads() // workers)
    with torch_threads():
        executor = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(each,))
        try:
            yield executor
        finally:
            executor.shutdown(cancel_futures=True)


def prefetch(items: Iterable[Item], depth: int) -> Generator[Item]:
    """Yield `items` in their order while a thread makes up to `depth` of them in advance.

    An exception of `items` is raised here, after what came before it. Closing the generator ends the
    thread at its next item.

    Args:
        items: consumed by the thread alone.
        depth: how many finished items may wait; one more may be in the making.
    """
    waiting: queue.Queue[Any] = queue.Queue(maxsize=depth)
    closed = threading.Event()

    def put(item: Any) -> bool:
        while not closed.is_set():
            try:
                waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((_END, None))
        except BaseException as error:  # whatever it is, it belongs to the caller
            put((_END, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        closed.set()
        thread.join()

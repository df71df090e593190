"""Work that runs ahead in a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import Any, TypeVar

Item = TypeVar("Item")

_END = object()


def ahead(items: Iterable[Item], depth: int) -> Generator[Item]:
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

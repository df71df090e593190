"""Work that runs ahead: order, errors, and an end."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from clipn.utils.prefetch import ahead


def test_order_is_kept() -> None:
    assert list(ahead(range(100), 3)) == list(range(100))


def test_an_error_comes_after_what_came_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("bad shard")

    running = ahead(items(), 2)
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

    running = ahead(items(), 2)
    assert next(running) == 1
    for _ in range(4):  # the one taken, two waiting, one that waits for its place
        assert made.acquire(timeout=5)
    assert not made.acquire(timeout=0.3)
    assert count == 4
    running.close()


def test_closing_ends_the_thread() -> None:
    before = threading.active_count()
    running = ahead(iter(int, 1), 1)  # endless
    next(running)
    assert threading.active_count() == before + 1
    running.close()
    assert threading.active_count() == before

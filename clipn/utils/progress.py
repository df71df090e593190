"""How far a caller's work has come, and where its time goes."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int], None]
"""Called with (done, total) from time to time; cheap enough to be called often."""


def silent(done: int, total: int) -> None:
    """Show nothing: for callers who do not want to know."""


class Phases:
    """Seconds spent in named phases, added up over all visits and all threads."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the seconds of the block to a phase, also if it ends with an exception."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Add seconds that were measured elsewhere to a phase."""
        with self._lock:
            self._seconds[name] += seconds

    def seconds(self) -> dict[str, float]:
        """Return phase → seconds, rounded to milliseconds."""
        return {name: round(value, 3) for name, value in self._seconds.items()}

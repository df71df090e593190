"""How the library tells a caller how far it has come."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with (done, total) from time to time; cheap enough to be called often."""


def silent(done: int, total: int) -> None:
    """For callers who do not want to know."""

"""Which rows are taken where not all are, and random numbers that belong to a name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]


def evenly(total: int, count: int, take: Literal["ends", "firsts", "middles"] = "ends") -> Rows:
    """Return the numbers of `count` rows, or of all, spread evenly over `total` rows; in order, none twice.

    Args:
        total: rows there are.
        count: rows to take.
        take: `ends` has the first and the last row among them and equal steps between. The other two cut the
            rows into `count` parts as equal as can be: `firsts` takes the first row of each part, `middles`
            the one in the middle.
    """
    count = min(count, total)
    if take == "ends":
        return np.linspace(0, total - 1, count).round().astype(np.intp)
    halves = 2 * np.arange(count) + (take == "middles")
    return (halves * total // max(1, 2 * count)).astype(np.intp)


def shares(count: int, sizes: Sequence[int]) -> list[int]:
    """Return how many of `count` images each set gives: as equally many as their sizes allow."""
    given, remaining = [0] * len(sizes), count
    for rank, i in enumerate(sorted(range(len(sizes)), key=lambda i: sizes[i])):
        given[i] = min(sizes[i], remaining // (len(sizes) - rank))
        remaining -= given[i]
    return given


def stream(*names: object) -> np.random.Generator:
    """Return random numbers that depend on these names alone, whatever else is drawn before or beside."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256("\0".join(map(str, names)).encode()).digest()))

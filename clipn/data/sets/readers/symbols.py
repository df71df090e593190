"""Pictures of the miniature world: every symbol of one Unicode block is a class."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from clipn.data import miniature
from clipn.data.sets.readers.base import Request, Source, png
from clipn.errors import InvalidParams


def symbols_of(block: str | None) -> tuple[miniature.Symbol, ...]:
    """Raises InvalidParams for a block that the world does not have."""
    if block is None or block not in miniature.blocks():
        raise InvalidParams(f"the miniature world has no block {block!r}; it has {', '.join(miniature.blocks())}")
    return miniature.blocks()[block]


@contextmanager
def open_symbols(request: Request) -> Iterator[Source]:
    params, world = request.params, request.world
    symbols = symbols_of(params.block)
    drawn = [(label, copy) for label in range(len(symbols)) for copy in range(params.images_per_class or 0)]
    stream = zlib.crc32(str(params.block).encode())

    def read(i: int) -> bytes:
        label, copy = drawn[i]
        # A stream of random numbers for each picture, so that no picture depends on how many are drawn.
        rng = np.random.default_rng([world.seed, 2, stream, label, copy])
        drawing = miniature.draw(symbols[label], rng, world.image_size, world.noise, world.rotation)
        return png(np.asarray(drawing.image))

    yield Source(
        names=[f"{params.block}/{symbols[label].name}/{copy:04d}.png" for label, copy in drawn],
        labels=[label for label, _ in drawn],
        classes=[symbol.name for symbol in symbols],
        read=read,
    )

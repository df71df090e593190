from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from clipn.data import miniature
from clipn.data.sets.readers import Request
from clipn.data.sets.readers.symbols import open_symbols
from clipn.errors import InvalidParams
from tests.data.sets.readers.conftest import WORLD, pixels


def test_every_symbol_of_the_block_is_a_class(make_request: Callable[..., Request]) -> None:
    with open_symbols(make_request("symbols", block="cards", images_per_class=2)) as source:
        assert list(source.classes) == [symbol.name for symbol in miniature.blocks()["cards"]]
        assert list(source.labels) == [i // 2 for i in range(2 * len(source.classes))]
        assert source.names[1] == f"cards/{source.classes[0]}/0001.png"
        assert len(set(source.names)) == len(source.labels)
        assert pixels(source.read(0)).shape == (WORLD.image_size, WORLD.image_size, 3)
        assert source.read(1) == source.read(1)
        assert source.read(0) != source.read(1)


def test_a_picture_does_not_depend_on_how_many_there_are(make_request: Callable[..., Request]) -> None:
    with (
        open_symbols(make_request("symbols", block="greek", images_per_class=1)) as few,
        open_symbols(make_request("symbols", block="greek", images_per_class=3)) as many,
    ):
        assert few.read(4) == many.read(12)


def test_blocks_have_random_streams_of_their_own(make_request: Callable[..., Request]) -> None:
    noise = []
    for block in ("greek", "arrows"):
        with open_symbols(make_request("symbols", block=block, images_per_class=1)) as source:
            noise.append(pixels(source.read(0))[0, :6].astype(int))
    assert not np.array_equal(*noise)


def test_an_unknown_block_is_answered_with_the_known_ones(make_request: Callable[..., Request]) -> None:
    with (
        pytest.raises(InvalidParams, match=r"no block 'runes'; it has pictographs, .*cards"),
        open_symbols(make_request("symbols", block="runes", images_per_class=1)),
    ):
        pass

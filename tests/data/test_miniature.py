from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from fontTools.ttLib import TTFont

from clipn.data import miniature
from clipn.data.miniature import BACKGROUNDS, CAPTIONS, FOREGROUNDS, SIZES, Symbol

SYMBOLS = miniature.symbols()
UMBRELLA = next(symbol for symbol in SYMBOLS if symbol.name == "umbrella")


def draw(seed: int, symbol: Symbol = UMBRELLA, noise: float = 0.0, rotation: float = 0.0) -> miniature.Drawing:
    return miniature.draw(symbol, np.random.default_rng(seed), 32, noise, rotation)


def pixels(drawing: miniature.Drawing) -> np.ndarray:
    return np.asarray(drawing.image, dtype=np.int64)


def near(drawing: miniature.Drawing, colour: tuple[int, int, int]) -> np.ndarray:
    return np.abs(pixels(drawing) - colour).max(axis=-1) <= 40


def test_symbols_carry_their_official_names() -> None:
    assert len(SYMBOLS) == 228
    assert [unicodedata.name(symbol.char).lower() for symbol in SYMBOLS] == [symbol.name for symbol in SYMBOLS]


def test_no_symbol_stands_twice() -> None:
    assert len({symbol.char for symbol in SYMBOLS}) == len({symbol.name for symbol in SYMBOLS}) == len(SYMBOLS)


def test_blocks_divide_the_symbols() -> None:
    blocks = miniature.blocks()
    assert [symbol for block in blocks.values() for symbol in block] == list(SYMBOLS)
    assert all(symbol.block == name for name, block in blocks.items() for symbol in block)
    assert {"pictographs", "dingbats", "emoticons", "arrows", "shapes", "operators", "greek", "cards"} <= blocks.keys()


def test_the_font_has_every_symbol() -> None:
    font = TTFont(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"))
    assert {ord(symbol.char) for symbol in SYMBOLS} <= font.getBestCmap().keys()


def test_equal_seeds_give_equal_pictures_and_others_do_not() -> None:
    one, same, other = draw(1, noise=20.0, rotation=20.0), draw(1, noise=20.0, rotation=20.0), draw(2, noise=20.0)
    assert np.array_equal(pixels(one), pixels(same))
    assert (one.colour, one.background, one.size) == (same.colour, same.background, same.size)
    assert not np.array_equal(pixels(one), pixels(other))


@pytest.mark.parametrize("symbol", SYMBOLS[:: len(SYMBOLS) // 20], ids=lambda symbol: symbol.name)
def test_pictures_show_the_colours_that_they_claim(symbol: Symbol) -> None:
    drawing = draw(0, symbol)
    assert (drawing.image.mode, drawing.image.size) == ("RGB", (32, 32))
    front, back = near(drawing, FOREGROUNDS[drawing.colour]), near(drawing, BACKGROUNDS[drawing.background])
    assert front.sum() >= 10
    assert back.sum() >= 100
    others = [colour for name, colour in FOREGROUNDS.items() if name != drawing.colour]
    assert not any(near(drawing, other).any() for other in others)


def test_large_symbols_cover_more_than_small_ones() -> None:
    extent: dict[str, list[int]] = {size: [] for size in SIZES}
    for seed in range(30):
        drawing = draw(seed)
        rows = near(drawing, FOREGROUNDS[drawing.colour]).any(axis=1)
        extent[drawing.size].append(int(rows.sum()))
    assert max(extent["small"]) < min(extent["large"])


def test_every_attribute_is_drawn_evenly() -> None:
    drawings = [draw(seed) for seed in range(200)]
    for counts in (Counter(d.colour for d in drawings), Counter(d.background for d in drawings)):
        assert len(counts) == 2
        assert min(counts.values()) > 70


def test_noise_has_the_given_deviation() -> None:
    differences = []
    for seed in range(10):
        clean, noisy = pixels(draw(seed)), pixels(draw(seed, noise=10.0))
        differences.append((noisy - clean)[(clean > 60) & (clean < 195)])  # far from where noise is clipped
    difference = np.concatenate(differences)
    assert difference.size > 1000
    assert difference.std() == pytest.approx(10.0, rel=0.1)
    assert abs(difference.mean()) < 1.5


def test_rotation_turns_the_symbol_and_zero_does_not() -> None:
    arrow = next(symbol for symbol in SYMBOLS if symbol.name == "rightwards arrow")
    spans = [int(near(d, FOREGROUNDS[d.colour]).any(axis=1).sum()) for d in (draw(s, arrow) for s in range(10))]
    turned = [
        int(near(d, FOREGROUNDS[d.colour]).any(axis=1).sum())
        for d in (draw(s, arrow, rotation=40.0) for s in range(10))
    ]
    assert max(turned) > max(spans)


def test_captions_name_the_symbol_and_only_true_attributes() -> None:
    seen = set()
    for seed in range(100):
        drawing = draw(seed)
        text = miniature.caption(UMBRELLA, drawing, np.random.default_rng(seed))
        words = set(text.split())
        assert "umbrella" in words
        for value, choices in ((drawing.colour, FOREGROUNDS), (drawing.background, BACKGROUNDS), (drawing.size, SIZES)):
            assert not words & set(choices) - {value}
        seen.add(text)
    templates = {
        t.format(name="umbrella", colour=c, background=b, size=s)
        for t in CAPTIONS
        for c in FOREGROUNDS
        for b in BACKGROUNDS
        for s in SIZES
    }
    assert seen <= templates
    assert len(seen) > len(CAPTIONS)

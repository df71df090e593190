"""The miniature world: Unicode symbols drawn with DejaVu Sans, captioned with their official names.

It needs no network and no download: the font ships inside matplotlib. Classes are symbols, data
sets are Unicode blocks, and every picture has a colour, a size, a background, a small rotation and
noise, so that captions say more than the class and a tower has something to learn.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

FOREGROUNDS = {"red": (205, 40, 40), "blue": (40, 70, 200)}
BACKGROUNDS = {"white": (245, 245, 240), "yellow": (240, 215, 120)}
SIZES = {"small": 0.62, "large": 0.92}
CAPTIONS = (
    "a {size} {colour} {name} on a {background} background",
    "a {colour} {name} on {background}",
    "a {size} drawing of a {name} in {colour}",
    "a picture of a {name}",
)


@dataclass(frozen=True)
class Symbol:
    """One class of the miniature world: a code point, its lower-case Unicode name and its block."""

    block: str
    char: str
    name: str


@dataclass(frozen=True)
class Drawing:
    """One picture of a symbol with the attributes that its caption may mention."""

    image: Image.Image
    colour: str
    background: str
    size: str


@cache
def symbols() -> tuple[Symbol, ...]:
    """Return all symbols of the world, in the order of `clipn/data/symbols.tsv`."""
    text = resources.files(__package__).joinpath("symbols.tsv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines(), delimiter="\t")
    return tuple(Symbol(row["block"], chr(int(row["codepoint"], 16)), row["name"]) for row in rows)


def blocks() -> dict[str, tuple[Symbol, ...]]:
    """Block name → its symbols."""
    names = dict.fromkeys(symbol.block for symbol in symbols())
    return {name: tuple(s for s in symbols() if s.block == name) for name in names}


@cache
def _font(pixels: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")), pixels)


@cache
def _glyph(char: str, pixels: int) -> Image.Image:
    """The symbol as a square mask of side `pixels`, scaled so that its longer side fills it."""
    font = _font(2 * pixels)
    left, top, right, bottom = font.getbbox(char)
    width, height = int(right - left), int(bottom - top)
    side = max(width, height)
    mask = Image.new("L", (side, side))
    offset = ((side - width) // 2 - int(left), (side - height) // 2 - int(top))
    ImageDraw.Draw(mask).text(offset, char, fill=255, font=font)
    return mask.resize((pixels, pixels), Image.Resampling.LANCZOS)


def draw(symbol: Symbol, rng: np.random.Generator, image_size: int, noise: float, rotation: float) -> Drawing:
    """Draw one picture of `symbol`.

    Args:
        symbol: what to draw.
        rng: decides colour, background, size, place, angle and noise.
        image_size: side of the square picture in pixels.
        noise: standard deviation of the Gaussian pixel noise, in grey levels of 255.
        rotation: the largest angle, in degrees, to either side.
    """
    colour, background, size = (str(rng.choice(list(c))) for c in (FOREGROUNDS, BACKGROUNDS, SIZES))
    mask = _glyph(symbol.char, round(SIZES[size] * image_size))
    mask = mask.rotate(rng.uniform(-rotation, rotation), Image.Resampling.BILINEAR, expand=True)
    slack = image_size - np.array(mask.size)
    place = slack // 2 + rng.integers(-2, 3, size=2)
    image = Image.new("RGB", (image_size, image_size), BACKGROUNDS[background])
    image.paste(FOREGROUNDS[colour], (int(place[0]), int(place[1])), mask)
    pixels = np.asarray(image, dtype=np.float32) + rng.normal(0, noise, (image_size, image_size, 3))
    return Drawing(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), colour, background, size)


def caption(symbol: Symbol, drawing: Drawing, rng: np.random.Generator) -> str:
    """Return a sentence about the drawing from one of the templates in `CAPTIONS`."""
    template = CAPTIONS[rng.integers(len(CAPTIONS))]
    return template.format(name=symbol.name, colour=drawing.colour, background=drawing.background, size=drawing.size)

"""Many small pictures as one."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageOps


def strip(pictures: Sequence[Image.Image], columns: int, side: int, gap: int) -> Image.Image:
    """Return the middle squares of `pictures` as tiles of `side` pixels on white, `columns` in each row."""
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (side + gap) - gap, rows * (side + gap) - gap), "white")
    for i, picture in enumerate(pictures):
        sheet.paste(tile(picture, side), (i % columns * (side + gap), i // columns * (side + gap)))
    return sheet


def tile(picture: Image.Image, side: int) -> Image.Image:
    """Return the middle square of a picture, `side` pixels wide; a tile stays as it is."""
    # Enlarged pixels stay sharp: a smoothed 8x8 digit looks like a broken image.
    method = Image.Resampling.LANCZOS if min(picture.size) > side else Image.Resampling.NEAREST
    return ImageOps.fit(picture, (side, side), method)

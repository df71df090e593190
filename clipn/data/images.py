"""Decoding of images that nobody vouches for."""

from __future__ import annotations

import io
import warnings

from PIL import Image

from clipn.errors import InvalidData

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "PPM")
MAX_PIXELS = 100_000_000
"""The limit where no parameter sets one."""
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".ppm", ".pgm"})


def image_size(data: bytes, max_pixels: int) -> tuple[int, int]:
    """Return width and height from the header alone.

    Raises:
        InvalidData: no image of a known format, or one of more than `max_pixels` pixels.
    """
    with _opened(data, max_pixels) as image:
        return image.size


def extension(data: bytes, max_pixels: int) -> str:
    """Return the usual file extension of the image's real format, whatever its name was; without a dot.

    Raises:
        InvalidData: as `image_size`.
    """
    with _opened(data, max_pixels) as image:
        name = (image.format or "").lower()
        return {"jpeg": "jpg", "mpo": "jpg"}.get(name, name)


def decode(data: bytes, max_pixels: int) -> Image.Image:
    """Decode to RGB. The header is checked before any pixel is decoded.

    Raises:
        InvalidData: as `image_size`, or the pixels are damaged or cut off.
    """
    with _opened(data, max_pixels) as image:
        try:
            # A palette with transparency has to go through RGBA, or Pillow warns and guesses.
            return (image.convert("RGBA") if "transparency" in image.info else image).convert("RGB")
        except (OSError, SyntaxError, ValueError, MemoryError) as error:
            raise InvalidData(f"damaged image: {error}") from error


def _opened(data: bytes, max_pixels: int) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # Pillow's own bomb check is replaced by the limit below, which is a parameter.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.UnidentifiedImageError as error:  # its message holds a memory address, and files have to repeat
        raise InvalidData(f"not an image ({len(data)} bytes) in one of the formats {', '.join(FORMATS)}") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InvalidData(f"not an image ({len(data)} bytes): {error}") from error
    width, height = image.size
    if width * height > max_pixels:
        raise InvalidData(f"image of {width}x{height} pixels exceeds the limit of {max_pixels}")
    return image

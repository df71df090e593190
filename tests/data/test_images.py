from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from clipn.data.images import decode, image_size
from clipn.errors import InvalidData

LIMIT = 10_000


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "PPM"])
def test_known_formats(kind: str) -> None:
    data = encoded(NOISE, kind)
    assert image_size(data, LIMIT) == (20, 30)
    image = decode(data, LIMIT)
    assert (image.mode, image.size) == ("RGB", (20, 30))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM"])
def test_lossless_formats_keep_every_pixel(kind: str) -> None:
    assert np.array_equal(np.asarray(decode(encoded(NOISE, kind), LIMIT)), np.asarray(NOISE))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_other_modes_become_rgb_without_a_warning(mode: str) -> None:
    image = Image.new(mode, (2, 1), 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(encoded(image), LIMIT).getpixel((1, 0)) == (0, 0, 0)


def test_a_palette_with_transparency_keeps_its_colours() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    data = encoded(image, transparency=bytes([0, 128]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoded = decode(data, LIMIT)
    assert [decoded.getpixel((x, 0)) for x in (0, 1)] == [(10, 20, 30), (40, 50, 60)]


@pytest.mark.parametrize("function", [image_size, decode])
@pytest.mark.parametrize(
    "data", [b"", b"<html></html>", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"%PDF-1.4", b"%!PS-Adobe-3.0"]
)
def test_what_is_no_image_is_refused(function: object, data: bytes) -> None:
    with pytest.raises(InvalidData, match=f"not an image .{len(data)} bytes."):
        function(data, LIMIT)  # type: ignore[operator]


@pytest.mark.parametrize("kind", ["TIFF", "ICO", "TGA", "PCX"])
def test_formats_outside_the_list_are_refused(kind: str) -> None:
    with pytest.raises(InvalidData, match="not an image"):
        decode(encoded(NOISE, kind), LIMIT)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_a_cut_image_has_a_size_but_no_pixels(kind: str) -> None:
    data = encoded(NOISE.resize((200, 300)), kind)
    if kind != "WEBP":  # whose header says how long the file has to be
        assert image_size(data[: len(data) // 2], 10**6) == (200, 300)
    with pytest.raises(InvalidData, match="image"):
        decode(data[: len(data) // 2], 10**6)


def test_flipped_bits_are_found() -> None:
    data = bytearray(encoded(NOISE))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(InvalidData, match="damaged image"):
        decode(bytes(data), LIMIT)


@pytest.mark.parametrize("function", [image_size, decode])
def test_the_limit_is_on_pixels_and_inclusive(function: object) -> None:
    data = encoded(NOISE)
    function(data, 600)  # type: ignore[operator]
    with pytest.raises(InvalidData, match="image of 20x30 pixels exceeds the limit of 599"):
        function(data, 599)  # type: ignore[operator]


@pytest.mark.parametrize(("width", "height"), [(50_000, 50_000), (2**31 - 1, 2**31 - 1), (100_000, 1)])
def test_a_bomb_is_refused_by_its_header(width: int, height: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InvalidData):
            decode(png_header(width, height), LIMIT)

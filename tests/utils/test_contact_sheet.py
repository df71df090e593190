"""Tiles of a contact sheet: where they lie and what they show."""

from __future__ import annotations

from PIL import Image

from clipn.utils.contact_sheet import strip, tile


def test_strip_lays_tiles_out_in_rows() -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    sheet = strip([Image.new("RGB", (4, 4), colour) for colour in colours], columns=2, side=8, gap=2)
    assert sheet.size == (18, 18)
    assert [sheet.getpixel(point) for point in ((0, 0), (17, 7), (7, 17))] == colours
    assert sheet.getpixel((9, 0)) == sheet.getpixel((17, 17)) == (255, 255, 255)


def test_strip_takes_the_middle_square_and_keeps_pixels_sharp() -> None:
    picture = Image.new("RGB", (4, 2), (255, 0, 0))  # red, with a blue left and a green right half in the middle
    picture.paste((0, 0, 255), (1, 0, 2, 2))
    picture.paste((0, 255, 0), (2, 0, 3, 2))
    sheet = strip([picture], columns=1, side=8, gap=0)
    assert [sheet.getpixel((x, 0)) for x in (0, 3, 4, 7)] == [(0, 0, 255)] * 2 + [(0, 255, 0)] * 2


def test_a_tile_stays_what_it_is() -> None:
    large = Image.linear_gradient("L").convert("RGB")
    once = tile(large, 32)
    assert once.size == (32, 32)
    assert tile(once, 32).tobytes() == once.tobytes()

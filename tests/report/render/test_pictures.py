from __future__ import annotations

import base64
import io
from xml.etree import ElementTree

from matplotlib.figure import Figure
from PIL import Image

from clipn.report.render import pictures, plots


def content(src: str, kind: str) -> bytes:
    start = f"data:{kind};base64,"
    assert src.startswith(start)
    return base64.b64decode(src.removeprefix(start), validate=True)


def test_photographs_become_webp_of_their_size() -> None:
    picture = pictures.webp(Image.new("RGB", (64, 32), (200, 30, 30)), "red")
    assert (picture.alt, picture.width, picture.height) == ("red", 64, 32)
    with Image.open(io.BytesIO(content(picture.src, "image/webp"))) as image:
        assert image.format == "WEBP"
        assert image.size == (64, 32)


def test_no_photograph_is_wider_than_a_page_shows() -> None:
    picture = pictures.webp(Image.new("RGB", (2560, 300)), "wide")
    assert (picture.width, picture.height) == (1280, 150)


def test_plots_become_svg_of_their_size_in_pixels() -> None:
    with plots.themed():
        picture = pictures.svg(Figure(figsize=(2, 1)), "empty")
    assert (picture.width, picture.height) == (192, 96)
    root = ElementTree.fromstring(content(picture.src, "image/svg+xml"))
    assert root.get("width") == "144pt"

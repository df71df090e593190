"""Pictures with their data inside the address, so that a page needs no other file."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from clipn.data import images
from clipn.errors import InvalidData, MissingInput
from clipn.report.render import plots
from clipn.report.render.document import Picture

WIDEST = 1280
"""Pixels across a photograph at most: a page shows no more."""


def read(path: Path) -> Image.Image:
    """Read a picture that an earlier stage drew.

    Raises:
        MissingInput: the file does not exist.
        InvalidData: it is no image.
    """
    if not path.is_file():
        raise MissingInput(f"{path} does not exist; run 'dvc repro' to make it, or 'dvc pull' to fetch it")
    try:
        return images.decode(path.read_bytes(), images.MAX_PIXELS)
    except InvalidData as error:
        raise InvalidData(f"{path}: {error}; run 'dvc repro'") from error


def webp(picture: Image.Image, alt: str) -> Picture:
    """Embed a photograph or a drawing in pixels; shrunk where it is wider than any page shows it."""
    if picture.width > WIDEST:
        picture = picture.resize((WIDEST, round(picture.height * WIDEST / picture.width)), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", quality=85, method=6)
    return Picture(_data_uri("image/webp", buffer.getvalue()), alt, *picture.size)


def svg(figure: Figure, alt: str) -> Picture:
    """Embed a plot; within `plots.themed()`, so that it is the same everywhere."""
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    return Picture(_data_uri("image/svg+xml", plots.svg(figure)), alt, width, height)


def _data_uri(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"

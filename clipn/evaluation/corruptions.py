"""What happens to images on their way: noise, blur, compression.

Each takes an RGB image of the size of the tower's input and gives one of the same size, 8 bit. The
same image, named the same, is corrupted the same way, whatever else is drawn before or beside; at
another level of noise the same pattern is stronger or weaker.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from clipn.config import RobustnessParams
from clipn.utils.sampling import stream


def noise(image: Image.Image, deviation: float, name: str) -> Image.Image:
    """Add Gaussian noise, independent in every channel of every pixel; clipped to 0 … 255 and rounded.

    Args:
        image: RGB.
        deviation: standard deviation in grey levels of 255.
        name: of the image; decides the noise.
    """
    drawn = stream("noise", name).standard_normal((image.height, image.width, 3), np.float32)
    pixels = np.asarray(image, np.float32) + deviation * drawn
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def blur(image: Image.Image, radius: float, name: str) -> Image.Image:
    """Blur with a Gaussian of standard deviation `radius` in pixels, as Pillow approximates it with three box blurs."""
    return image.filter(ImageFilter.GaussianBlur(radius))


def jpeg(image: Image.Image, quality: float, name: str) -> Image.Image:
    """Encode as JPEG and decode again: libjpeg's quality from 1 to 100, colours at half resolution."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(quality), subsampling="4:2:0")
    with Image.open(buffer) as decoded:
        return decoded.convert("RGB")


CORRUPTIONS: dict[str, Callable[[Image.Image, float, str], Image.Image]] = {"noise": noise, "blur": blur, "jpeg": jpeg}
"""Name → function of image, level and the image's name; the names are fields of `RobustnessParams`."""


@dataclass(frozen=True)
class Corruption:
    """One corruption at one level: grey levels of 255 (`noise`), pixels (`blur`) or quality (`jpeg`)."""

    name: str
    level: float

    def __call__(self, image: Image.Image, name: str) -> Image.Image:
        return CORRUPTIONS[self.name](image, self.level, name)


def chosen(params: RobustnessParams) -> list[Corruption]:
    """Return all corruptions at all levels that the parameters name."""
    return [Corruption(name, level) for name in CORRUPTIONS for level in getattr(params, name)]

"""Random views of training images, as CLIP is trained with: a random crop at the model's own size.

The reference implementation draws a new crop at every step (torchvision's `RandomResizedCrop` with
areas of 0.9 to 1). Features are computed once here, so a number of crops is drawn for each image
beforehand. A crop depends on the image's key and its number alone, not on order, batch or thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import open_clip
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor, nn

from clipn.utils.sampling import stream

Pixels = TypeVar("Pixels")

RATIO = (3 / 4, 4 / 3)
"""Narrowest and widest crop, width over height."""
TRIES = 10


def crop_box(
    width: int, height: int, scale: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draw a random crop, by the algorithm of torchvision's `RandomResizedCrop`.

    The area is uniform in `scale`, the logarithm of width over height uniform between those of 3/4 and
    4/3, the place uniform. When ten tries in a row do not fit into the image, the largest central crop
    of a permitted shape is taken.

    Args:
        width, height: of the image, in pixels.
        scale: smallest and largest share of the image's area.
        rng: source of the random numbers.

    Returns:
        left, top, right, bottom, in pixels.
    """
    for _ in range(TRIES):
        area = width * height * rng.uniform(*scale)
        ratio = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            return left, top, left + w, top + h
    w = min(width, round(height * RATIO[1]))
    h = min(height, round(width / RATIO[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def squash(model: nn.Module) -> Callable[[Image.Image], Tensor]:
    """Return the model's own preprocessing, except that a whole image is resized to its input, whatever its shape.

    Interpolation, colours and normalisation stay those of the centre crop; a square image gives the same tensor.
    """
    config = {**open_clip.get_model_preprocess_cfg(model), "resize_mode": "squash"}
    return image_transform_v2(PreprocessCfg(**config), is_train=False)


def view(
    image: Image.Image, key: str, number: int, scale: tuple[float, float], preprocess: Callable[[Image.Image], Pixels]
) -> Pixels:
    """Return one random view of an image.

    Args:
        image: the whole image.
        key: of the image, in its set.
        number: which view.
        scale: smallest and largest share of the image's area.
        preprocess: what is done with the crop, such as what `squash` returns.

    Returns:
        what `preprocess` returns.
    """
    return preprocess(image.crop(crop_box(*image.size, scale, stream(key, number))))

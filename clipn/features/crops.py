"""The preprocessing of a tower in two halves: images become 8-bit crops of its size, and crops its input.

The first half is work for the CPU, and its results are small: they travel between processes and to a GPU.
The second half is arithmetic on whole batches, on the device of the tower. Changes to an image are made
in between, so that they mean the same whatever its original size was, and so that what is scored is a
picture that can be saved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.transform import MaybeToTensor
from PIL import Image
from torch import Tensor
from torchvision.transforms import Compose, Normalize

from clipn.data import images
from clipn.features.views import squash, view
from clipn.models.backbone import Backbone

Crops = NDArray[np.uint8]
"""RGB pictures [N, H, W, 3] of the size that a tower takes."""


@dataclass(frozen=True)
class Cropper:
    """The first half of an open_clip transform: resizes and crops an image to [H, W, 3]; a crop stays what it is."""

    steps: Compose

    def __call__(self, image: Image.Image) -> Crops:
        return np.asarray(self.steps(image))


@dataclass(frozen=True)
class Decoder:
    """Makes the crops of which a shard holds features. It knows no tower and can go to another process.

    Attributes:
        centre: what makes the centre crop.
        whole: what resizes a random crop.
        views: number of random crops.
        view_scale: smallest and largest share of the image's area that one shows; None without views.
        max_pixels: larger images are refused.
    """

    centre: Cropper
    whole: Cropper
    views: int
    view_scale: tuple[float, float] | None
    max_pixels: int

    def __call__(self, key: str, data: bytes) -> Crops:
        """Return the centre crop and then the views of an encoded image, [1 + V, H, W, 3].

        Raises:
            InvalidData: it cannot be decoded, as `clipn.data.images.decode` says.
        """
        image = images.decode(data, self.max_pixels)
        scale = self.view_scale
        views = [view(image, key, number, scale, self.whole) for number in range(self.views)] if scale else []
        return np.stack([self.centre(image), *views])


def cropper(clip: Backbone) -> Cropper:
    """Return the first half of `clip.preprocess`."""
    return _halves(clip.preprocess)[0]


def decoder(clip: Backbone, max_pixels: int, views: int = 0, view_scale: tuple[float, float] | None = None) -> Decoder:
    """Return what makes the crops of an encoded image for a tower; `Decoder` says what the arguments are."""
    whole, _ = _halves(squash(clip.model))
    return Decoder(cropper(clip), whole, views, view_scale, max_pixels)


def colours(crops: Tensor) -> Tensor:
    """Return crops [N, H, W, 3] of 8 bits as colours from 0 to 1, [N, 3, H, W], channels last in memory."""
    return crops.float().div_(255).movedim(-1, 1)


def normaliser(clip: Backbone) -> Callable[[Tensor], Tensor]:
    """Return the rest of `clip.preprocess`, differentiable: colours from 0 to 1, [N, 3, H, W] → input of the tower."""
    _, normalize = _halves(clip.preprocess)
    mean, std = tuple(normalize.mean), tuple(normalize.std)

    def normalise(pixels: Tensor) -> Tensor:
        # By rows of the image, since a CPU would need twice the time for operations on three numbers each.
        rows = pixels.movedim(1, -1).flatten(-2)
        means, stds = (_row(values, pixels.shape[-1], pixels.device) for values in (mean, std))
        return (rows - means).div_(stds).unflatten(-1, (-1, len(mean))).movedim(-1, 1)

    return normalise


def batches(crops: Crops, size: int) -> Iterator[Crops]:
    """Crops in parts of `size`."""
    return (crops[start : start + size] for start in range(0, len(crops), size))


def _halves(transform: Callable[[Image.Image], Tensor]) -> tuple[Cropper, Normalize]:
    """An open_clip transform of evaluation images, cut where an image becomes a tensor."""
    steps: list[Any] = transform.transforms  # type: ignore[attr-defined]
    *resize, to_tensor, normalize = steps
    assert isinstance(to_tensor, MaybeToTensor)
    assert isinstance(normalize, Normalize)
    return Cropper(Compose(resize)), normalize


@lru_cache
def _row(values: tuple[float, ...], width: int, device: torch.device) -> Tensor:
    """One value a channel, repeated for a row of pixels. A GPU would wait for its batch if each brought its own."""
    with torch.inference_mode(False):  # the attack needs gradients, whoever asked first
        return torch.tensor(values, dtype=torch.float32, device=device).repeat(width)

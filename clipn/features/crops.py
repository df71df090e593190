"""Images as a tower sees them, before colours are normalised: 8 bit, and of the size that it takes.

Changes to an image are made here, so that they mean the same whatever its original size was, and so
that what is scored is a picture that can be saved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor

from clipn.features import select
from clipn.features.encode import encode_images
from clipn.features.lookup import Images
from clipn.features.rows import FeatureBatch, FeatureMeta
from clipn.models.backbone import Backbone

Crops = NDArray[np.uint8]
"""RGB pictures [N, H, W, 3] of the size that a tower takes."""


def cropper(clip: Backbone) -> Callable[[Image.Image], Crops]:
    """Return what resizes and crops an image as `clip.preprocess` does, to [H, W, 3]; a crop stays what it is."""
    config = {**open_clip.get_model_preprocess_cfg(clip.model), "mean": (0.0,) * 3, "std": (1.0,) * 3}
    transform = image_transform_v2(PreprocessCfg(**config), is_train=False)

    def crop(image: Image.Image) -> Crops:
        return (255 * transform(image).permute(1, 2, 0).numpy()).round().astype(np.uint8)

    return crop


def pixels(crops: Crops) -> Tensor:
    """Crops [N, H, W, 3] as colours from 0 to 1, [N, 3, H, W], channels last in memory."""
    return torch.from_numpy(crops).float().div(255).movedim(-1, 1)


def normaliser(clip: Backbone) -> Callable[[Tensor], Tensor]:
    """Return the rest of `clip.preprocess`, differentiable: colours from 0 to 1, [N, 3, H, W] → input of the tower."""
    config = open_clip.get_model_preprocess_cfg(clip.model)
    mean, std = (torch.tensor(config[key], device=clip.device).view(-1, 1, 1) for key in ("mean", "std"))
    return lambda colours: (colours - mean) / std


def read(images: Images, keys: Sequence[str], clip: Backbone, max_pixels: int) -> Crops:
    """Return the crops of some images [N, H, W, 3], in the order of `keys`, which may repeat.

    Raises:
        MissingInput, InvalidData: as `Images.entries` and `Images.decoded`.
    """
    crop = cropper(clip)
    decoded = images.decoded(images.entries(set(keys)).values(), max_pixels)
    crops = {key: crop(image) for key, image in decoded}
    return np.stack([crops[key] for key in keys])


def batches(crops: Crops, size: int) -> Iterator[Crops]:
    """Crops in parts of `size`."""
    return (crops[start : start + size] for start in range(0, len(crops), size))


def encode(
    clip: Backbone, meta: FeatureMeta, parts: Iterable[Crops], keys: Sequence[str], labels: NDArray[np.int32] | None
) -> FeatureBatch:
    """Evaluation features of crops, rounded to float16 as those of a store are.

    Args:
        clip: the backbone.
        meta: which features; that of a store of the same set.
        parts: one batch of the tower after the other.
        keys: of all N images.
        labels: their classes [N], -1 without; None if none has one.
    """
    normalise, encoded, done = normaliser(clip), list[FeatureBatch](), 0
    for part in parts:
        rows = slice(done, done + len(part))
        features = encode_images(clip, normalise(pixels(part).to(clip.device)), patches=meta.patches > 0)
        classes = np.full(len(part), -1, np.int32) if labels is None else labels[rows]
        encoded.append(replace(_stored(features), keys=keys[rows], label=classes))
        done += len(part)
    return select.join(encoded)


def _stored(batch: FeatureBatch) -> FeatureBatch:
    def rounded(values: NDArray[np.floating] | None) -> Any:
        return None if values is None else values.astype(np.float16)

    return FeatureBatch(batch.keys, rounded(batch.image), pooled=rounded(batch.pooled), patches=rounded(batch.patches))

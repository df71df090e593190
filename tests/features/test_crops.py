"""What the tower sees, in two halves that make the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from clipn.features import crops
from clipn.models import backbone
from clipn.models.backbone import Backbone
from tests.conftest import TINY
from tests.small_sets import PARAMS, picture, tiny, write_set


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return tiny(tmp_path_factory.mktemp("clip"))


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [(40, 25), (16, 16), (9, 30)])
def test_crop_and_normalise_are_the_towers_own_preprocessing(
    tiny_clip: torch.nn.Module, tmp_path: Path, mode: str, size: tuple[int, int]
) -> None:
    config = {**open_clip.get_model_preprocess_cfg(tiny_clip), "resize_mode": mode, "size": 16}
    backbone.save(tiny_clip, TINY, config, tmp_path / "clip")
    clip = backbone.load(tmp_path / "clip")
    image = picture(1, size)
    crop = crops.cropper(clip)(image)
    assert (crop.shape, crop.dtype) == ((16, 16, 3), np.uint8)
    expected = clip.preprocess(image)
    assert torch.equal(crops.normaliser(clip)(crops.pixels(crop[None]))[0], expected)
    # The tower's preprocessing leaves a crop as it is, so a saved one can be read as any image.
    assert torch.equal(clip.preprocess(Image.fromarray(crop)), expected)


def test_crops_of_a_set_come_in_the_order_of_the_keys(clip: Backbone, tmp_path: Path) -> None:
    images = write_set(tmp_path / "set", clip, [picture(i) for i in range(4)])
    found = crops.read(images, ["00000003", "00000001", "00000003"], clip, PARAMS.max_pixels)
    crop = crops.cropper(clip)
    assert (found == np.stack([crop(picture(i)) for i in (3, 1, 3)])).all()


def test_features_of_crops_are_those_of_the_store(clip: Backbone, tmp_path: Path) -> None:
    images = write_set(tmp_path / "set", clip, [picture(i) for i in range(5)], ("even", "odd"))
    stored = images.features.load()
    found = crops.read(images, stored.keys, clip, PARAMS.max_pixels)
    encoded = crops.encode(clip, images.features.meta, crops.batches(found, 2), stored.keys, stored.label)
    assert encoded.keys == stored.keys
    assert encoded.image.dtype == np.float16
    np.testing.assert_allclose(encoded.image, stored.image, atol=1e-3)
    assert encoded.pooled is not None
    np.testing.assert_allclose(encoded.pooled, stored.pooled, atol=2e-3)
    assert encoded.label is not None
    assert encoded.label.tolist() == [0, 1, 0, 1, 0]
    unlabelled = crops.encode(clip, images.features.meta, [found], stored.keys, None)
    assert unlabelled.label is not None
    assert unlabelled.label.tolist() == [-1] * 5

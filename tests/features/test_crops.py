"""What the tower sees, in two halves that make the whole."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from clipn.errors import InvalidData
from clipn.features import crops
from clipn.features.views import squash, view
from clipn.models import backbone
from clipn.models.backbone import Backbone
from tests.conftest import TINY
from tests.small_sets import picture, tiny


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return tiny(tmp_path_factory.mktemp("clip"))


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("shape", [(40, 25), (16, 16), (9, 30), (101, 67)])
def test_crop_and_normalise_are_the_towers_own_preprocessing(
    tiny_clip: torch.nn.Module, tmp_path: Path, mode: str, interpolation: str, shape: tuple[int, int]
) -> None:
    clip = backbone_of(tiny_clip, tmp_path, resize_mode=mode, interpolation=interpolation, mean=[0.1, 0.2, 0.3])
    for image in (picture(1, shape), picture(1, shape).convert("L"), picture(1, shape).convert("P")):
        crop = crops.cropper(clip)(image)
        assert (crop.shape, crop.dtype) == ((16, 16, 3), np.uint8)
        expected = clip.preprocess(image)
        assert torch.equal(tower_input(clip, np.stack([crop]))[0], expected)
        # The tower's preprocessing leaves a crop as it is, so a saved one can be read as any image.
        assert torch.equal(clip.preprocess(Image.fromarray(crop)), expected)


def test_a_decoder_gives_the_centre_crop_and_then_the_views(tiny_clip: torch.nn.Module, tmp_path: Path) -> None:
    clip, image, scale = backbone_of(tiny_clip, tmp_path, resize_mode="longest"), picture(2, (50, 31)), (0.3, 0.6)
    decoded = pickle.loads(pickle.dumps(crops.decoder(clip, 10_000, 2, scale)))("a", png_of(image))
    whole = squash(clip.model)
    views = [view(image, "a", number, scale, whole) for number in range(2)]
    assert torch.equal(tower_input(clip, decoded), torch.stack([clip.preprocess(image), *views]))


def test_a_grey_file_becomes_crops_of_three_channels(clip: Backbone) -> None:
    image = picture(3, (20, 30)).convert("L")
    decoded = crops.decoder(clip, 10_000)("a", png_of(image))
    assert decoded.shape == (1, 16, 16, 3)
    assert torch.equal(tower_input(clip, decoded)[0], clip.preprocess(image.convert("RGB")))


def test_an_image_that_is_none_or_too_large_is_refused(clip: Backbone) -> None:
    decoder = crops.decoder(clip, 100)
    with pytest.raises(InvalidData, match="not an image"):
        decoder("a", b"")
    with pytest.raises(InvalidData, match="exceeds the limit of 100"):
        decoder("a", png_of(picture(0, (20, 20))))


def test_a_batch_for_the_tower_has_channels_last_and_gradients(clip: Backbone) -> None:
    with torch.inference_mode():
        first = tower_input(clip, np.zeros((2, 16, 16, 3), np.uint8))
    assert first.is_contiguous(memory_format=torch.channels_last)
    colours = torch.rand(2, 3, 16, 16, requires_grad=True)
    crops.normaliser(clip)(colours).sum().backward()
    _, std = (getattr(clip.preprocess.transforms[-1], name) for name in ("mean", "std"))  # type: ignore[attr-defined]
    expected = (1 / torch.tensor(std)).view(-1, 1, 1).expand(2, 3, 16, 16)
    torch.testing.assert_close(colours.grad, expected)


def test_batches_are_parts_in_order() -> None:
    given = np.arange(5 * 3, dtype=np.uint8).reshape(5, 1, 1, 3)
    parts = list(crops.batches(given, 2))
    assert [len(part) for part in parts] == [2, 2, 1]
    assert (np.concatenate(parts) == given).all()


def backbone_of(model: torch.nn.Module, folder: Path, **preprocessing: object) -> Backbone:
    backbone.save(
        model, TINY, {**open_clip.get_model_preprocess_cfg(model), "size": 16, **preprocessing}, folder / "clip"
    )
    return backbone.load(folder / "clip")


def tower_input(clip: Backbone, pictures: crops.Crops) -> torch.Tensor:
    return crops.normaliser(clip)(crops.colours(torch.from_numpy(pictures)))


def png_of(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()

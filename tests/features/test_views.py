"""Random views: torchvision's distribution, the backbone's own pixels, and nothing but the image's key decides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop

from clipn.features import views
from clipn.features.views import RATIO, crop_box, squash, view
from clipn.models import backbone
from clipn.training.pretrain import preprocess_cfg
from clipn.utils.sampling import stream
from tests.conftest import TINY

SCALE = (0.9, 1.0)


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width).integers(0, 255, (height, width, 3), dtype=np.uint8))


def ours(width: int, height: int, scale: tuple[float, float], count: int) -> np.ndarray:
    """`count` boxes as rows of left, top, width, height."""
    rng = np.random.default_rng(0)
    boxes = np.array([crop_box(width, height, scale, rng) for _ in range(count)])
    return np.column_stack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])


def torchvisions(width: int, height: int, scale: tuple[float, float], count: int) -> np.ndarray:
    torch.manual_seed(0)
    image = torch.empty(3, height, width)
    boxes = [RandomResizedCrop.get_params(image, list(scale), list(RATIO)) for _ in range(count)]
    return np.array(boxes)[:, [1, 0, 3, 2]]


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Largest distance of the two empirical distribution functions (Kolmogorov-Smirnov)."""
    values = np.union1d(a, b)
    steps = [np.searchsorted(np.sort(sample), values, side="right") / len(sample) for sample in (a, b)]
    return float(np.abs(steps[0] - steps[1]).max())


@pytest.mark.parametrize(("width", "height", "scale"), [(256, 256, SCALE), (280, 224, SCALE), (200, 300, (0.08, 1.0))])
def test_boxes_are_distributed_as_torchvisions(width: int, height: int, scale: tuple[float, float]) -> None:
    a, b = ours(width, height, scale, 3000), torchvisions(width, height, scale, 3000)
    measures = {
        "area": lambda box: box[:, 2] * box[:, 3],
        "ratio": lambda box: box[:, 2] / box[:, 3],
        "left": lambda box: box[:, 0],
        "top": lambda box: box[:, 1],
    }
    # 1.95 · sqrt(2 / 3000): two samples of one distribution are farther apart in 1 of 1000 cases.
    for name, measure in measures.items():
        assert distance(measure(a), measure(b)) < 0.05, name


@pytest.mark.parametrize(("width", "height"), [(1000, 100), (100, 1000), (301, 200), (7, 3)])
def test_where_no_try_fits_the_largest_central_crop_is_taken(width: int, height: int) -> None:
    expected = torchvisions(width, height, SCALE, 1)
    np.testing.assert_array_equal(ours(width, height, SCALE, 3), np.repeat(expected, 3, axis=0))


def test_a_box_lies_in_its_image() -> None:
    for width, height in [(1, 1), (2, 3), (33, 31), (640, 480)]:
        for number in range(50):
            left, top, right, bottom = crop_box(width, height, (0.05, 1.0), stream("a", number))
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height


def test_a_draw_depends_on_key_and_number_alone() -> None:
    scale = (0.3, 0.6)
    boxes = {(key, number): crop_box(256, 256, scale, stream(key, number)) for key in "ab" for number in range(3)}
    assert len(set(boxes.values())) == 6
    for (key, number), box in reversed(boxes.items()):
        assert crop_box(256, 256, scale, stream(key, number)) == box


def test_boxes_stay_the_same_from_version_to_version() -> None:
    assert [crop_box(256, 256, SCALE, stream("000000000", number)) for number in range(2)] == [
        (11, 1, 256, 248),
        (7, 2, 250, 255),
    ]


@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_a_box_that_covers_a_square_image_gives_the_centre_crop(
    tiny_clip: torch.nn.Module,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    resize_mode: str,
    interpolation: str,
) -> None:
    config = {
        **preprocess_cfg(TINY),
        "resize_mode": resize_mode,
        "interpolation": interpolation,
        "mean": [0.1, 0.2, 0.3],
    }
    backbone.save(tiny_clip, TINY, config, tmp_path / "clip")
    clip = backbone.load(tmp_path / "clip")
    monkeypatch.setattr(views, "crop_box", lambda width, height, *_: (0, 0, width, height))
    for side in (16, 20, 41):
        image = picture(side, side)
        torch.testing.assert_close(
            view(image, "a", 0, SCALE, squash(clip.model)), clip.preprocess(image), rtol=0, atol=0
        )


def test_a_view_is_its_box_resized_to_the_models_input(tiny_clip: torch.nn.Module, tmp_path: Path) -> None:
    backbone.save(tiny_clip, TINY, preprocess_cfg(TINY), tmp_path / "clip")
    clip = backbone.load(tmp_path / "clip")
    image, preprocess = picture(40, 32), squash(clip.model)
    seen = view(image, "a", 1, (0.3, 0.5), preprocess)
    assert seen.shape == (3, 16, 16)
    box = crop_box(40, 32, (0.3, 0.5), stream("a", 1))
    resized = image.crop(box).resize((16, 16), Image.Resampling.BICUBIC)
    torch.testing.assert_close(seen, clip.preprocess(resized), rtol=0, atol=0)

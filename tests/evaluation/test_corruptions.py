"""Noise, blur and compression of known strength."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from clipn.config import RobustnessParams
from clipn.evaluation.corruptions import Corruption, blur, chosen, jpeg, noise
from tests.small_sets import picture

GREY = Image.new("RGB", (64, 64), (128, 128, 128))


def array(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.float64)


@pytest.mark.parametrize("deviation", [5.0, 20.0])
def test_noise_has_the_deviation_that_was_asked_for(deviation: float) -> None:
    change = array(noise(GREY, deviation, "a")) - 128
    # 12288 samples: the standard error of the deviation is 0.6 % of it; rounding adds a variance of 1/12.
    assert change.std() == pytest.approx((deviation**2 + 1 / 12) ** 0.5, rel=0.03)
    assert abs(change.mean()) < 0.03 * deviation
    assert abs(np.corrcoef(change[..., 0].ravel(), change[..., 1].ravel())[0, 1]) < 0.05


def test_noise_belongs_to_the_name_of_the_image() -> None:
    assert noise(GREY, 10, "a").tobytes() == noise(GREY, 10, "a").tobytes()
    assert noise(GREY, 10, "a").tobytes() != noise(GREY, 10, "b").tobytes()
    weak, strong = (array(noise(GREY, deviation, "a")) - 128 for deviation in (5, 20))
    assert np.abs(4 * weak - strong).max() <= 2.5  # the same pattern, each rounded


def test_noise_stays_within_the_colours() -> None:
    black = array(noise(Image.new("RGB", (16, 16)), 50, "a"))
    assert (black.min(), (black == 0).mean()) == (0, pytest.approx(0.5, abs=0.06))


def test_blur_keeps_the_mean_and_takes_its_radius_as_deviation() -> None:
    line = Image.new("RGB", (65, 65))
    line.paste((255, 255, 255), (32, 0, 33, 65))
    row = array(blur(line, 3.0, "a"))[32, :, 0]
    assert row.sum() == pytest.approx(255, rel=0.03)
    place = np.arange(65) - 32
    assert np.sqrt((row * place**2).sum() / row.sum()) == pytest.approx(3.0, rel=0.06)
    image = picture(0, (64, 64))
    assert array(blur(image, 2.0, "a")).mean() == pytest.approx(array(image).mean(), abs=0.7)
    assert array(blur(image, 2.0, "a")).std() < array(image).std()


def test_jpeg_keeps_the_shape_and_loses_more_at_lower_quality() -> None:
    image = noise(picture(0, (33, 47)), 20, "a")
    changes = [np.abs(array(jpeg(image, quality, "a")) - array(image)).mean() for quality in (95, 50, 10)]
    assert jpeg(image, 10, "a").size == (33, 47)
    assert jpeg(image, 10, "a").mode == "RGB"
    assert 0 < changes[0] < changes[1] < changes[2]


def test_every_level_is_a_corruption() -> None:
    params = RobustnessParams(
        benchmarks=(), methods=(), images=1, noise=(10.0,), blur=(1.0, 2.0), jpeg=(30,), templates=(), synonyms=False
    )
    found = chosen(params)
    assert [(c.name, c.level) for c in found] == [("noise", 10.0), ("blur", 1.0), ("blur", 2.0), ("jpeg", 30)]
    assert found[3](GREY, "a").tobytes() == jpeg(GREY, 30, "a").tobytes()
    assert found[0](GREY, "a").tobytes() == Corruption("noise", 10.0)(GREY, "a").tobytes()

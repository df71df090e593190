from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from clipn.report.inputs.samples import Sample
from clipn.report.render import overview
from clipn.report.summary import BenchmarkSummary
from tests.report import made_up
from tests.report.made_up import TRAINED

NAMES = ["MSP", "CTW"]


def benchmark(n_sets: int, auroc: float = 0.75) -> BenchmarkSummary:
    spread = {f"set-{i}": [auroc] for i in range(n_sets)}
    return made_up.benchmark(
        made_up.method("MSP", spread), made_up.method("CTW", spread, TRAINED), made_up.method("Energy", spread)
    )


def noise(b: BenchmarkSummary) -> dict[str, list[Sample]]:
    """The hardest images to compress."""
    rng = np.random.default_rng(0)
    return {
        name: [Sample(Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)), None) for _ in range(6)]
        for name in (b.id, *b.ood)
    }


@pytest.mark.parametrize("n_sets", [1, 8, 20])
def test_picture_is_of_the_promised_size_and_has_no_metadata(n_sets: int) -> None:
    b = benchmark(n_sets)
    content = overview.draw("Made up", b, NAMES, noise(b))
    assert len(content) < 200_000
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.width == 1200
        assert picture.info.keys() <= {"transparency", "dpi"}


def test_picture_is_the_same_every_time() -> None:
    b = benchmark(2)
    assert overview.draw("Made up", b, NAMES, noise(b)) == overview.draw("Made up", b, NAMES, noise(b))


def test_some_methods_are_shown_however_long_their_names() -> None:
    b = benchmark(2)
    heights = []
    for names in (["MSP"], NAMES):
        with Image.open(io.BytesIO(overview.draw("x", b, names, noise(b)))) as picture:
            heights.append(picture.height)
    assert heights[1] == heights[0] + overview.ROW
    long = made_up.benchmark(made_up.method("ATD+Energy+NegLabel+1-NN", {"set-0": [0.5]}, TRAINED))
    with Image.open(io.BytesIO(overview.draw("x", long, ["ATD+Energy+NegLabel+1-NN"], noise(long)))) as picture:
        margin = np.asarray(picture.convert("L"))[overview.TOP : overview.TOP + overview.ROW, :8]
    assert margin.min() > 230  # nothing is cut off at the left edge


def test_colour_says_better_and_worse_than_chance() -> None:
    def colour(auroc: float) -> tuple[int, int, int]:
        b = benchmark(1, auroc)
        red = [Sample(Image.new("RGB", (8, 8), (250, 0, 0)), None)]
        with Image.open(io.BytesIO(overview.draw("x", b, NAMES, {"cats": red, "set-0": red}))) as picture:
            return picture.convert("RGB").getpixel((overview.LEFT + 20, overview.TOP + 8))

    (red, _, blue), (red_of_bad, _, blue_of_bad) = colour(0.95), colour(0.05)
    assert blue > red + 50
    assert red_of_bad > blue_of_bad + 50
    assert min(colour(0.5)) > 235


def test_sample_images_are_in_the_picture() -> None:
    b = benchmark(1)
    samples = {
        name: [Sample(Image.new("RGB", (8, 8), colour), None)] * 4
        for name, colour in (("cats", (250, 0, 0)), ("set-0", (0, 200, 0)))
    }
    with Image.open(io.BytesIO(overview.draw("x", b, NAMES, samples))) as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    for colour in ((250, 0, 0), (0, 200, 0)):
        assert (np.abs(pixels.astype(int) - colour).max(axis=1) < 12).sum() >= 4 * 46 * 46

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from clipn.report import overview
from clipn.report.samples import Sample
from clipn.report.summary import BenchmarkSummary, MethodSummary, Spread


def benchmark(n_sets: int, auroc: float = 0.75) -> BenchmarkSummary:
    ood = tuple(f"set-{i}" for i in range(n_sets))
    spread = {name: Spread((auroc,)) for name in (*ood, "average")}
    methods = tuple(
        MethodSummary(name, trained, spread, spread, None) for name, trained in (("MSP", False), ("CTW", True))
    )
    return BenchmarkSummary(
        "small", "cats", ood, (0,), "id-interpolated", "fpr95_id_interpolated", 0.5, 1.0, "symbols",
        dict.fromkeys(("cats", *ood), 3), methods,
    )  # fmt: skip


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
    content = overview.draw("Made up", b, noise(b))
    assert len(content) < 200_000
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.width == 1200
        assert picture.info.keys() <= {"transparency", "dpi"}


def test_picture_is_the_same_every_time() -> None:
    b = benchmark(2)
    assert overview.draw("Made up", b, noise(b)) == overview.draw("Made up", b, noise(b))


def test_imported_models_are_left_out() -> None:
    b = benchmark(2)
    added = replace(b.methods[1], name="CTW (released)", imported="released")
    with_imported = replace(b, methods=(*b.methods, added))
    assert overview.draw("Made up", with_imported, noise(b)) == overview.draw("Made up", b, noise(b))


def test_colour_says_better_and_worse_than_chance() -> None:
    def colour(auroc: float) -> tuple[int, int, int]:
        b = benchmark(1, auroc)
        red = [Sample(Image.new("RGB", (8, 8), (250, 0, 0)), None)]
        with Image.open(io.BytesIO(overview.draw("x", b, {"cats": red, "set-0": red}))) as picture:
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
    with Image.open(io.BytesIO(overview.draw("x", b, samples))) as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    for colour in ((250, 0, 0), (0, 200, 0)):
        assert (np.abs(pixels.astype(int) - colour).max(axis=1) < 12).sum() >= 4 * 46 * 46

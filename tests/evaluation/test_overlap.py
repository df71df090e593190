"""Duplicates that were put into small sets are found, and what only resembles them is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipn.config import BenchmarkParams
from clipn.errors import BackboneMismatch
from clipn.evaluation import duplicates, overlap
from clipn.evaluation.overlap import PAIRS, Overlap
from clipn.features.lookup import Images
from tests.overlap_data import MAX_PIXELS, Picture, write_images

BENCHMARK = BenchmarkParams(id="known", ood=("near", "far"))
KNOWN = [Picture(0, 0), Picture(1, 40), Picture(2, 80), Picture(3, 120)]
NEAR = [
    Picture(0, 0, "webp"),  # the pixels of the first ID image in another format
    Picture(1, 40, "jpg"),  # the second one after lossy compression
    Picture(9, 82),  # another picture with almost the features of the third
    Picture(3, 120, size=(10, 12)),  # the bytes of the fourth one's pixels in another shape
    Picture(3, 150),  # the pixels of the fourth one, but features that say otherwise
]
FAR = [Picture(8, 200), Picture(7, 300)]
TRAINING = [Picture(20, 200), Picture(8, 200), Picture(21, 41)]


def make(folder: Path, threshold: float = 0.999, training: list[Picture] | None = None) -> Overlap:
    sets = {
        name: write_images(folder / name, pictures)
        for name, pictures in (("known", KNOWN), ("near", NEAR), ("far", FAR))
    }
    others = write_images(folder / "training", training) if training else None
    return overlap.find(BENCHMARK, sets, others, threshold, max_pixels=MAX_PIXELS)


def found(result: Overlap) -> dict[tuple[str, str, str, str], bool]:
    rows = result.table.to_pylist()
    return {(row["set"], row["key"], row["other"], row["other_key"]): row["exact"] for row in rows}


def test_between_the_sets(tmp_path: Path) -> None:
    result = make(tmp_path)
    assert found(result) == {
        ("near", "0", "id", "0"): True,
        ("near", "1", "id", "1"): False,
        ("near", "2", "id", "2"): False,
        ("near", "3", "id", "3"): False,
    }
    cosines = result.table["cosine"].to_pylist()
    assert cosines == pytest.approx([1, 1, np.cos(np.radians(2)), 1], abs=1e-4)
    assert result.counts == {
        "known": {"images": 4},
        "near": {"images": 5, "id": {"exact": 1, "near": 3}},
        "far": {"images": 2, "id": {"exact": 0, "near": 0}},
    }


def test_among_the_training_images(tmp_path: Path) -> None:
    result = make(tmp_path, training=TRAINING)
    of_training = {pair: exact for pair, exact in found(result).items() if pair[2] == "training"}
    assert of_training == {
        ("known", "1", "training", "2"): False,
        ("near", "1", "training", "2"): False,
        ("far", "0", "training", "0"): False,
        ("far", "0", "training", "1"): True,  # the same file
    }
    assert result.counts["far"]["training"] == {"exact": 1, "near": 0}
    assert result.counts["known"] == {"images": 4, "training": {"exact": 0, "near": 1}}


def test_exact_duplicates_are_found_below_a_high_threshold(tmp_path: Path) -> None:
    rounded = Picture(8, 200 + np.degrees(np.arccos(0.995)))
    result = make(tmp_path, threshold=0.9999, training=[rounded])
    assert found(result)["far", "0", "training", "0"]
    assert ("near", "2", "id", "2") not in found(result)


def test_a_lower_threshold_finds_more(tmp_path: Path) -> None:
    result = make(tmp_path, threshold=0.85)
    assert ("near", "4", "id", "3") in found(result)
    assert not found(result)["near", "4", "id", "3"]


def test_pictures_show_an_image_above_its_duplicate(tmp_path: Path) -> None:
    result = make(tmp_path, training=TRAINING)
    assert result.pictures.keys() == {("near", "id"), ("known", "training"), ("near", "training"), ("far", "training")}
    picture = result.pictures["far", "training"]
    assert picture.size == (PAIRS * 68 - 4, 2 * 68 - 4)
    # Only one pair: two tiles at the left, the lower one of the training image, and white beside them.
    assert picture.crop((68, 0, *picture.size)).getcolors() == [(68 * 7 * 132 - 4 * 132, (255, 255, 255))]
    assert picture.crop((0, 0, 64, 64)) != Image.new("RGB", (64, 64), "white")


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    result = make(tmp_path / "sets")
    folder = tmp_path / "out"
    folder.mkdir()
    overlap.write(result, folder)
    assert duplicates.read(folder) == result.table
    assert sorted(path.name for path in folder.iterdir()) == ["duplicates.parquet", "near.id.webp"]


def test_features_of_different_backbones_cannot_be_compared(tmp_path: Path) -> None:
    sets: dict[str, Images] = {
        name: write_images(tmp_path / name, KNOWN, backbone)
        for name, backbone in (("known", "abc"), ("near", "abc"), ("far", "xyz"))
    }
    with pytest.raises(BackboneMismatch, match=r"features of backbone abc, .*far.* of xyz; make them again"):
        overlap.find(BENCHMARK, sets, None, 0.9, max_pixels=MAX_PIXELS)

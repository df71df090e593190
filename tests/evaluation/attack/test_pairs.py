"""Which images are paired, and that their files hold what was moved."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipn.data import tars
from clipn.errors import InvalidData
from clipn.evaluation.attack import pairs as attack_pairs
from clipn.evaluation.attack.pairs import TILE, Pair, draw
from clipn.features import crops
from tests.small_sets import PARAMS, picture, tiny, write_set

OOD = {"near": [f"n{i}" for i in range(5)], "far": [f"f{i}" for i in range(9)], "tiny": ["t0"]}
TARGETS = [f"x{i}" for i in range(12)]


def test_starts_are_spread_over_sets_and_targets_drawn_once() -> None:
    pairs = draw(OOD, TARGETS, 7, seed=0)
    assert [pair.name for pair in pairs] == ["near/n0", "near/n2", "near/n4", "far/f0", "far/f4", "far/f8", "tiny/t0"]
    assert len({pair.target for pair in pairs}) == 7
    assert {pair.target for pair in pairs} <= set(TARGETS)
    assert draw(OOD, TARGETS, 7, seed=0) == pairs
    assert [pair.target for pair in draw(OOD, TARGETS, 7, seed=1)] != [pair.target for pair in pairs]


def test_fewer_images_than_asked_for() -> None:
    assert len(draw(OOD, TARGETS, 100, seed=0)) == 15
    assert {pair.target for pair in draw(OOD, TARGETS[:2], 10, seed=0)} == {"x0", "x1"}
    with pytest.raises(InvalidData, match=r"the OOD sets near give no images but duplicates, which overlap\.leave_out"):
        draw({"near": []}, TARGETS, 3, seed=0)


def test_crops_come_in_the_order_of_the_pairs(tmp_path: Path) -> None:
    clip = tiny(tmp_path / "clip")
    sets = {
        name: write_set(tmp_path / name, clip, [picture(seed) for seed in seeds])
        for name, seeds in (("near", (0, 1)), ("far", (2, 3)), ("unused", (4,)), ("fit", (5, 6)))
    }
    fit = sets.pop("fit")
    pairs = [Pair(*words) for words in (("far", "00000001", "00000000"), ("near", "00000001", "00000001"),
                                        ("far", "00000000", "00000000"))]  # fmt: skip
    starts, targets = attack_pairs.read(pairs, sets, fit, clip, PARAMS.max_pixels)
    crop = crops.cropper(clip)
    assert (starts == np.stack([crop(picture(seed)) for seed in (3, 1, 2)])).all()
    assert (targets == np.stack([crop(picture(seed)) for seed in (5, 6, 5)])).all()


def test_files_hold_every_pixel(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    starts, moved, targets = rng.integers(0, 256, (3, 2, 8, 8, 3), np.uint8)
    pairs = [Pair("near", "00000001", "00000004"), Pair("far", "00000001", "00000002")]
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        attack_pairs.write(tmp_path / folder, "smooth", pairs, starts, moved, targets)
    samples = dict(tars.read(tmp_path / "one/smooth.tar"))
    assert list(samples) == ["near/00000001", "far/00000001"]
    for i, sample in enumerate(samples.values()):
        for suffix, expected in (("start.png", starts), ("moved.png", moved), ("target.png", targets)):
            assert (np.asarray(Image.open(io.BytesIO(sample[suffix]))) == expected[i]).all()
    assert Image.open(tmp_path / "one/smooth.png").size == (2 * TILE + 4, 4 * TILE + 3 * 4)
    for name in ("smooth.tar", "smooth.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_sheet_shows_differences_on_grey() -> None:
    starts = np.full((30, 8, 8, 3), 100, np.uint8)
    moved = starts.copy()
    moved[:, :, 4:] += 5
    moved[0, 0, 0] = 255  # few enough that it need not be shown whole
    moved[:, 4:, :4] -= 12
    assert attack_pairs.amplification(starts, moved) == 8  # 12 times 8 is less than 128, times 16 is more
    sheet = attack_pairs.sheet(starts, moved, starts)
    assert sheet.size[0] == 10 * TILE + 9 * 4
    top = 2 * (TILE + 4)
    points = [(30, top + 30), (TILE - 10, top + 10), (10, top + TILE - 10), (2, top + 2)]
    assert [sheet.getpixel(point) for point in points] == [
        (128,) * 3,
        (128 + 5 * 8,) * 3,
        (128 - 12 * 8,) * 3,
        (255,) * 3,
    ]


@pytest.mark.parametrize(("change", "times"), [(0, 64), (1, 64), (3, 32), (127, 1), (128, 1), (255, 1)])
def test_amplification_of_even_changes(change: int, times: int) -> None:
    starts = np.zeros((2, 4, 4, 3), np.uint8)
    assert attack_pairs.amplification(starts, starts + np.uint8(change)) == times

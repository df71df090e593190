"""The comparison of feature stores forgives one unit in the last place, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipn.features.store import FeatureBatch, FeatureMeta, write_index, write_shard
from tests.same_features import assert_same_features

META = FeatureMeta(dim=2, backbone="abc", preprocess="", logit_scale=14.0, kind="evaluation", classes=("sun",))
IMAGE = np.array([[0.5, -0.25], [0.0, 1.0]], np.float16)


def store(folder: Path, image: np.ndarray = IMAGE, **columns: Any) -> Path:
    batch = {"keys": ["0", "1"], "label": np.array([0, -1], np.int32), **columns}
    with write_shard(folder / "0.parquet", META) as writer:
        writer.append(FeatureBatch(image=image.astype(np.float32), **batch))
    write_index(folder, [folder / "0.parquet"])
    return folder


def moved(units: int) -> np.ndarray:
    """The features with one value that many units further from 0."""
    bits = IMAGE.view(np.int16).copy()
    bits[0, 1] += units
    return bits.view(np.float16)


@pytest.mark.parametrize("units", [0, 1, -1])
def test_a_unit_in_the_last_place_is_forgiven(tmp_path: Path, units: int) -> None:
    assert_same_features(store(tmp_path / "a"), store(tmp_path / "b", moved(units)))


def test_two_units_are_not(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"image of 0\.parquet is 2 units away"):
        assert_same_features(store(tmp_path / "a"), store(tmp_path / "b", moved(2)))


def test_the_sign_of_a_value_counts(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="units away"):
        assert_same_features(store(tmp_path / "a"), store(tmp_path / "b", -IMAGE))


@pytest.mark.parametrize("columns", [{"keys": ["0", "2"]}, {"label": np.array([0, 0], np.int32)}], ids=str)
def test_keys_and_labels_are_compared_exactly(tmp_path: Path, columns: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        assert_same_features(store(tmp_path / "a"), store(tmp_path / "b", **columns))


def test_a_lost_row_or_shard_is_seen(tmp_path: Path) -> None:
    whole = store(tmp_path / "a")
    less = store(tmp_path / "b", IMAGE[:1], keys=["0"], label=np.array([0], np.int32))
    with pytest.raises(AssertionError):
        assert_same_features(whole, less)
    (tmp_path / "a/1.parquet").write_bytes((tmp_path / "a/0.parquet").read_bytes())
    with pytest.raises(AssertionError):
        assert_same_features(whole, store(tmp_path / "c"))

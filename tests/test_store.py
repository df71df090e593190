"""The feature store: what is written comes back, and nothing damaged or foreign is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from clipn.errors import BackboneMismatch, InvalidData, MissingInput, NonFinite
from clipn.store import FeatureBatch, FeatureMeta, FeatureStore, unit_norm, write_index, write_shard

EVALUATION = FeatureMeta(
    dim=4, backbone="abc", preprocess="size=32", logit_scale=20.0, kind="evaluation", classes=("sun", "cloud")
)
TRAINING = FeatureMeta(dim=4, backbone="abc", preprocess="size=32", logit_scale=20.0, kind="training")
IMAGE = np.array([[1, 0, 0, 0], [0, 0.5, -0.5, 0.25]], dtype=np.float32)


def evaluation_store(folder: Path, meta: FeatureMeta = EVALUATION) -> Path:
    shards = []
    for shard in range(2):
        path = folder / f"{shard:05d}.parquet"
        with write_shard(path, meta) as writer:
            keys = [f"{shard}{row}" for row in range(2)]
            writer.append(FeatureBatch(keys, IMAGE, label=np.array([shard, -1], np.int32)))
            writer.append(FeatureBatch([f"{shard}9"], IMAGE[:1], label=np.array([1], np.int32)))
        shards.append(path)
    write_index(folder, shards)
    return folder


def test_evaluation_features_come_back(tmp_path: Path) -> None:
    store = FeatureStore.open(evaluation_store(tmp_path), backbone="abc")
    assert len(store) == 6
    assert store.meta == EVALUATION
    batch = store.load()
    assert batch.keys == ["00", "01", "09", "10", "11", "19"]
    assert batch.label is not None
    assert batch.label.tolist() == [0, -1, 1, 1, -1, 1]
    np.testing.assert_array_equal(batch.image, np.concatenate([IMAGE, IMAGE[:1]] * 2))
    assert batch.image.dtype == np.float16


def test_training_features_come_back(tmp_path: Path) -> None:
    tokens = [np.array([1, 2, 3], np.int32), np.array([1, 3], np.int32)]
    path = tmp_path / "00000.parquet"
    with write_shard(path, TRAINING) as writer:
        writer.append(FeatureBatch(["a", "b"], IMAGE, text=IMAGE[::-1], tokens=tokens))
    write_index(tmp_path, [path])
    batch = FeatureStore.open(tmp_path).load()
    assert batch.text is not None
    assert batch.tokens is not None
    np.testing.assert_array_equal(batch.text, IMAGE[::-1])
    assert [row.tolist() for row in batch.tokens] == [[1, 2, 3], [1, 3]]


def test_opens_in_plain_pandas(tmp_path: Path) -> None:
    evaluation_store(tmp_path)
    frame = pq.read_table(tmp_path / "00000.parquet").to_pandas()
    assert list(frame.columns) == ["key", "image", "label"]
    assert np.frombuffer(frame["image"][1], "<f2").tolist() == [0, 0.5, -0.5, 0.25]


def test_unit_norm_undoes_the_rounding_to_half_precision() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(100, 64))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    stored = features.astype(np.float16)
    assert np.abs(np.linalg.norm(stored.astype(np.float32), axis=1) - 1).max() > 1e-5
    assert np.abs(np.linalg.norm(unit_norm(stored), axis=1) - 1).max() < 1e-6


def test_features_of_another_backbone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BackboneMismatch, match="features of backbone abc, but this is xyz"):
        FeatureStore.open(evaluation_store(tmp_path), backbone="xyz")


def test_shards_of_two_backbones_are_refused(tmp_path: Path) -> None:
    evaluation_store(tmp_path)
    with write_shard(tmp_path / "00001.parquet", replace(EVALUATION, backbone="xyz")) as writer:
        writer.append(FeatureBatch(["1", "2", "3"], IMAGE[[0, 0, 0]], label=np.zeros(3, np.int32)))
    with pytest.raises(InvalidData, match=r"00001\.parquet was made otherwise"):
        FeatureStore.open(tmp_path)


def test_a_folder_without_an_index_is_no_store(tmp_path: Path) -> None:
    evaluation_store(tmp_path)
    (tmp_path / "index.json").unlink()
    with pytest.raises(MissingInput, match=r"index\.json does not exist"):
        FeatureStore.open(tmp_path)


def test_a_lost_shard_is_named(tmp_path: Path) -> None:
    evaluation_store(tmp_path)
    (tmp_path / "00001.parquet").unlink()
    with pytest.raises(MissingInput, match=r"00001\.parquet is listed"):
        FeatureStore.open(tmp_path)


def test_a_flipped_bit_is_found_by_the_page_checksum(tmp_path: Path) -> None:
    store = FeatureStore.open(evaluation_store(tmp_path))
    path = tmp_path / "00000.parquet"
    content = bytearray(path.read_bytes())
    needle = IMAGE[1].astype("<f2").tobytes()
    content[content.index(needle) + 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidData, match=r"00000\.parquet is damaged"):
        store.load()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])  # the last overflows float16
def test_a_feature_that_is_not_finite_is_not_stored(tmp_path: Path, value: float) -> None:
    image = IMAGE.copy()
    image[1, 2] = value
    path = tmp_path / "00000.parquet"
    with pytest.raises(NonFinite, match="image feature of 'b' is not finite"), write_shard(path, EVALUATION) as writer:
        writer.append(FeatureBatch(["a", "b"], image, label=np.zeros(2, np.int32)))
    assert list(tmp_path.iterdir()) == []

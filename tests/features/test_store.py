"""The feature store: what is written comes back, and nothing damaged or foreign is read."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipn.errors import BackboneMismatch, InvalidData, MissingInput, NonFinite
from clipn.features.store import ROW_GROUP, FeatureBatch, FeatureMeta, FeatureStore, unit_norm, write_index, write_shard
from clipn.features.tokens import TokenLists

EVALUATION = FeatureMeta(
    dim=4, backbone="abc", preprocess="size=32", logit_scale=20.0, kind="evaluation", classes=("sun", "cloud")
)
TRAINING = FeatureMeta(dim=4, backbone="abc", preprocess="size=32", logit_scale=20.0, kind="training")
VIEWED = replace(TRAINING, views=3, view_scale=(0.9, 1.0))
IMAGE = np.array([[1, 0, 0, 0], [0, 0.5, -0.5, 0.25]], dtype=np.float32)
TOKENS = TokenLists.of([np.array([1, 2, 3]), np.array([1, 3])])


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


def pairs(count: int, start: int = 0) -> FeatureBatch:
    """Training rows that differ from each other; row i has i % 5 token ids."""
    numbers = np.arange(start, start + count)
    image = (numbers[:, None] % 1000 + np.arange(4)).astype(np.float32)
    tokens = TokenLists.of([np.full(number % 5, number) for number in numbers])
    return FeatureBatch([str(number) for number in numbers], image, text=-image, tokens=tokens)


def training_store(folder: Path, batch_size: int, count: int = ROW_GROUP + 10) -> Path:
    path = folder / "00000.parquet"
    with write_shard(path, TRAINING) as writer:
        for start in range(0, count, batch_size):
            writer.append(pairs(min(batch_size, count - start), start))
            assert writer.rows == min(start + batch_size, count)
    write_index(folder, [path])
    return folder


def test_training_features_come_back(tmp_path: Path) -> None:
    path = tmp_path / "00000.parquet"
    with write_shard(path, TRAINING) as writer:
        writer.append(FeatureBatch(["a", "b"], IMAGE, text=IMAGE[::-1], tokens=TOKENS))
    write_index(tmp_path, [path])
    batch = FeatureStore.open(tmp_path).load()
    assert batch.text is not None
    assert batch.tokens is not None
    assert batch.views is None
    assert batch.label is None
    np.testing.assert_array_equal(batch.text, IMAGE[::-1])
    assert [row.tolist() for row in batch.tokens] == [[1, 2, 3], [1, 3]]


def test_views_come_back(tmp_path: Path) -> None:
    path = tmp_path / "00000.parquet"
    views = np.arange(2 * 3 * 4, dtype=np.float16).reshape(2, 3, 4)
    with write_shard(path, VIEWED) as writer:
        writer.append(FeatureBatch(["a", "b"], IMAGE, text=IMAGE, tokens=TOKENS, views=views))
    write_index(tmp_path, [path])
    store = FeatureStore.open(tmp_path)
    assert store.meta == VIEWED
    batch = store.load()
    assert batch.views is not None
    assert batch.views.dtype == np.float16
    np.testing.assert_array_equal(batch.views, views)


def test_features_before_the_projection_and_of_patches_come_back(tmp_path: Path) -> None:
    meta = replace(EVALUATION, pooled=3, patches=2)
    pooled = np.array([[100, -2.5, 0], [1, 2, 3]], np.float16)  # not of unit norm
    patches = np.arange(2 * 2 * 4, dtype=np.float16).reshape(2, 2, 4)
    with write_shard(tmp_path / "0.parquet", meta) as writer:
        writer.append(FeatureBatch(["a", "b"], IMAGE, label=np.array([0, 1]), pooled=pooled, patches=patches))
    write_index(tmp_path, [tmp_path / "0.parquet"])
    store = FeatureStore.open(tmp_path)
    assert store.meta == meta
    batch = store.load()
    np.testing.assert_array_equal(batch.pooled, pooled)
    np.testing.assert_array_equal(batch.patches, patches)
    some = store.load(["pooled"])
    assert (some.label, some.patches) == (None, None)
    np.testing.assert_array_equal(some.pooled, pooled)


def test_rows_of_a_batch() -> None:
    batch = FeatureBatch(["a", "b"], IMAGE, label=np.array([0, 1], np.int32), pooled=2 * IMAGE)
    for chosen in (slice(1, 2), [1]):
        part = batch.rows(chosen)
        assert (part.keys, part.patches) == (["b"], None)
        np.testing.assert_array_equal(part.image, IMAGE[1:])
        np.testing.assert_array_equal(part.pooled, 2 * IMAGE[1:])
    assert np.shares_memory(batch.rows(slice(0, 1)).image, batch.image)


@pytest.mark.parametrize("column", ["pooled", "patches"])
def test_training_features_have_none_of_those(column: str) -> None:
    with pytest.raises(ValueError, match=f"training features have no {column}"):
        replace(TRAINING, **{column: 2})


def test_evaluation_features_have_no_views() -> None:
    with pytest.raises(ValueError, match="evaluation features have no views"):
        replace(EVALUATION, views=2)


def test_the_shard_does_not_depend_on_the_batches_it_was_written_in(tmp_path: Path) -> None:
    contents = [(training_store(tmp_path / str(size), size) / "00000.parquet").read_bytes() for size in (7, 1000, 5000)]
    assert contents[0] == contents[1] == contents[2]


def test_row_groups_are_read_one_by_one(tmp_path: Path) -> None:
    store = FeatureStore.open(training_store(tmp_path, 1000))
    groups = store.row_groups()
    assert [(group.shard, group.index, group.rows) for group in groups] == [
        ("00000.parquet", 0, ROW_GROUP),
        ("00000.parquet", 1, 10),
    ]
    batch, expected = store.read(groups[1]), pairs(10, ROW_GROUP)
    assert isinstance(batch.keys, pa.StringArray)
    assert batch.keys.to_pylist() == expected.keys
    np.testing.assert_array_equal(batch.image, expected.image)
    assert batch.tokens is not None
    assert expected.tokens is not None
    assert [row.tolist() for row in batch.tokens] == [row.tolist() for row in expected.tokens]
    assert len(batch) == 10


def test_only_the_columns_asked_for_are_read(tmp_path: Path) -> None:
    store = FeatureStore.open(training_store(tmp_path, 10, count=10))
    (group,) = store.row_groups()
    batch = store.read(group, ["tokens"])
    assert batch.text is None
    assert batch.tokens is not None
    assert len(batch.keys) == len(batch.image) == 10
    with pytest.raises(ValueError, match="has no column views; it has key, image, text, tokens"):
        store.read(group, ["views"])


def test_the_fingerprint_changes_with_the_content_alone(tmp_path: Path) -> None:
    first = FeatureStore.open(evaluation_store(tmp_path / "a"))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert FeatureStore.open(tmp_path / "b").fingerprint == first.fingerprint
    path = tmp_path / "b/00001.parquet"
    with write_shard(path, EVALUATION) as writer:
        writer.append(FeatureBatch(["10", "11", "19"], IMAGE[[0, 1, 0]], label=np.array([1, -1, 0], np.int32)))
    write_index(tmp_path / "b", [tmp_path / "b/00000.parquet", path])
    assert FeatureStore.open(tmp_path / "b").fingerprint != first.fingerprint


def test_a_shard_that_was_exchanged_is_named(tmp_path: Path) -> None:
    store = FeatureStore.open(evaluation_store(tmp_path))
    store.verify()
    with write_shard(tmp_path / "00001.parquet", EVALUATION) as writer:
        writer.append(FeatureBatch(["1", "2", "3"], IMAGE[[0, 0, 0]], label=np.zeros(3, np.int32)))
    with pytest.raises(InvalidData, match=r"00001\.parquet is not the shard that index\.json lists"):
        FeatureStore.open(tmp_path).verify()


@pytest.mark.parametrize(
    "index",
    [
        {"rows": 6, "shards": {"00000.parquet": 3, "00001.parquet": 3}},  # as earlier versions wrote it
        {"rows": 3, "shards": {"../00000.parquet": {"rows": 3, "sha256": "0"}}},
        {"rows": 3, "shards": {"00000.parquet": {"rows": 3}}},
        [],
    ],
)
def test_an_index_of_another_layout_is_refused(tmp_path: Path, index: object) -> None:
    evaluation_store(tmp_path)
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(InvalidData, match=r"index\.json does not list shards with rows and sha256.*make the features"):
        FeatureStore.open(tmp_path)


def test_a_shard_with_other_columns_than_it_says_is_refused(tmp_path: Path) -> None:
    evaluation_store(tmp_path)
    path = tmp_path / "00000.parquet"
    table = pq.read_table(path)
    lie = replace(EVALUATION, dim=2).schema().metadata
    pq.write_table(table.replace_schema_metadata(lie), path)
    with pytest.raises(InvalidData, match=r"00000\.parquet has the columns \['key', 'image', 'label'\]"):
        FeatureStore.open(tmp_path)


def test_a_store_without_rows_is_refused(tmp_path: Path) -> None:
    with write_shard(tmp_path / "00000.parquet", EVALUATION):
        pass
    write_index(tmp_path, [tmp_path / "00000.parquet"])
    with pytest.raises(InvalidData, match="holds no features"):
        FeatureStore.open(tmp_path)


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

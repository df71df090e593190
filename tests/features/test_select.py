"""Which images are taken, and that random numbers belong to a name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clipn.features import select
from clipn.features import writer as feature_writer
from clipn.features.store import FeatureBatch, FeatureMeta, FeatureStore, write_index, write_shard


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    """Ten images `a` to `j` in row groups of three; image number n has the pooled feature n."""
    monkeypatch.setattr(feature_writer, "ROW_GROUP", 3)
    with write_shard(tmp_path / "0.parquet", FeatureMeta(1, "abc", "none", 1.0, "evaluation", pooled=1)) as writer:
        rows = np.arange(10)
        writer.append(
            FeatureBatch(list("abcdefghij"), np.ones((10, 1)), label=rows.astype(np.int32), pooled=rows[:, None])
        )
    write_index(tmp_path, [tmp_path / "0.parquet"])
    return FeatureStore.open(tmp_path)


def test_evenly_takes_both_ends() -> None:
    assert select.evenly(10, 4).tolist() == [0, 3, 6, 9]
    assert select.evenly(3, 5).tolist() == [0, 1, 2]
    assert select.evenly(0, 5).tolist() == []


def test_shares_are_equal_as_far_as_the_sets_go() -> None:
    assert select.shares(9, [10, 10, 10]) == [3, 3, 3]
    assert select.shares(10, [100, 2, 100]) == [4, 2, 4]
    assert select.shares(50, [3, 4]) == [3, 4]
    assert sum(select.shares(64, [500] * 9)) == 64
    assert set(select.shares(64, [500] * 9)) == {7, 8}


def test_a_stream_belongs_to_its_names() -> None:
    first = select.stream("noise", 3).normal(size=4)
    assert (select.stream("noise", 3).normal(size=4) == first).all()
    assert (select.stream("noise", 4).normal(size=4) != first).all()
    assert select.stream("ab", "c").random() != select.stream("a", "bc").random()


def test_keys_and_rows_of_a_store(store: FeatureStore) -> None:
    assert select.keys_of(store, {"b", "j"}) == list("acdefghi")
    assert select.some(store, 3) == ["a", "e", "j"]
    assert select.some(store, 3, {"a", "e"}) == ["b", "g", "j"]
    taken = select.take(store, ["h", "a", "h", "d"], ["label", "pooled"])
    assert list(taken.keys) == ["h", "a", "h", "d"]
    assert taken.pooled is not None
    assert taken.pooled[:, 0].tolist() == [7, 0, 7, 3]
    assert taken.label is not None
    assert taken.label.tolist() == [7, 0, 7, 3]
    assert select.take(store, ["c"], ["label"]).pooled is None

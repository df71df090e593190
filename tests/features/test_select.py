"""Which images are taken, and that random numbers belong to a name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clipn.features import select
from clipn.features.store import FeatureBatch, FeatureMeta, FeatureStore, write_index, write_shard


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    """Ten images `a` to `j` in row groups of three; image number n has the pooled feature n."""
    monkeypatch.setattr("clipn.features.writer.ROW_GROUP", 3)
    with write_shard(tmp_path / "0.parquet", FeatureMeta(1, "abc", "none", 1.0, "evaluation", pooled=1)) as writer:
        rows = np.arange(10)
        writer.append(
            FeatureBatch(list("abcdefghij"), np.ones((10, 1)), label=rows.astype(np.int32), pooled=rows[:, None])
        )
    write_index(tmp_path, [tmp_path / "0.parquet"])
    return FeatureStore.open(tmp_path)


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

"""One shard: row groups of one size, whole or not at all, and only finite numbers of the right shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from clipn.errors import NonFinite
from clipn.features.rows import FeatureBatch, FeatureMeta
from clipn.features.tokens import TokenLists
from clipn.features.writer import write_shard

META = FeatureMeta(2, "abc", "none", 1.0, "evaluation")


def batch(first: int, count: int) -> FeatureBatch:
    rows = np.arange(first, first + count)
    return FeatureBatch(
        [str(i) for i in rows], np.stack([rows, rows], 1).astype(np.float32), label=(rows - 1).astype(np.int32)
    )


@pytest.mark.parametrize("sizes", [(7,), (1, 1, 1, 4), (5, 2), (3, 3, 1)])
def test_row_groups_do_not_depend_on_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, ...]
) -> None:
    monkeypatch.setattr("clipn.features.writer.ROW_GROUP", 3)
    first = 0
    with write_shard(tmp_path / "a.parquet", META) as writer:
        for size in sizes:
            writer.append(batch(first, size))
            first += size
            assert writer.rows == first
    with write_shard(tmp_path / "whole.parquet", META) as writer:
        writer.append(batch(0, 7))
    details = pq.read_metadata(tmp_path / "a.parquet")
    assert [details.row_group(i).num_rows for i in range(details.num_row_groups)] == [3, 3, 1]
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_values_and_missing_labels(tmp_path: Path) -> None:
    with write_shard(tmp_path / "a.parquet", META) as writer:
        writer.append(batch(0, 3))
    rows = pq.read_table(tmp_path / "a.parquet").to_pydict()
    assert rows["key"] == ["0", "1", "2"]
    assert rows["label"] == [None, 0, 1]
    assert rows["image"] == [np.array([i, i], "<f2").tobytes() for i in range(3)]


def test_training_rows_carry_text_tokens_and_views(tmp_path: Path) -> None:
    meta = FeatureMeta(2, "abc", "none", 1.0, "training", views=1, view_scale=(0.5, 1.0))
    image = np.ones((2, 2), np.float32)
    tokens = TokenLists.of([np.array([1, 2, 3]), np.array([4])])
    with write_shard(tmp_path / "a.parquet", meta) as writer:
        writer.append(FeatureBatch(["a", "b"], image, text=2 * image, tokens=tokens, views=3 * image[:, None]))
    rows = pq.read_table(tmp_path / "a.parquet").to_pydict()
    assert rows["tokens"] == [[1, 2, 3], [4]]
    assert rows["text"] == [np.array([2, 2], "<f2").tobytes()] * 2
    assert rows["views"] == [np.array([3, 3], "<f2").tobytes()] * 2


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])  # the last one is infinite in float16
def test_a_number_that_is_not_finite_leaves_no_file(tmp_path: Path, value: float) -> None:
    rows = batch(0, 3)
    rows.image[1, 0] = value
    with (
        pytest.raises(NonFinite, match=r"a\.parquet: the image feature of '1' is not finite"),
        write_shard(tmp_path / "a.parquet", META) as writer,
    ):
        writer.append(rows)
    assert list(tmp_path.iterdir()) == []


def test_features_of_another_width_are_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match=r"image features have shape \(3, 1\), not \(3, 2\)"),
        write_shard(tmp_path / "a.parquet", META) as writer,
    ):
        writer.append(FeatureBatch(list("abc"), np.ones((3, 1)), label=np.zeros(3, np.int32)))

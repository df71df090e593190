"""Whether two feature stores hold the same, apart from what the rounding of a processor's kernels may change."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray


def assert_same_features(one: Path, other: Path) -> None:
    """Compare float16 features within one unit in the last place and everything else exactly.

    Everything else: which shards there are, the order and number of their rows, keys, labels, tokens, and what
    their schemas and the index say of them apart from the hash of the file.
    """
    assert _index(one) == _index(other)
    for shard in sorted(one.glob("*.parquet")):
        ours, theirs = pq.read_table(shard), pq.read_table(other / shard.name)
        assert ours.schema.equals(theirs.schema, check_metadata=True), shard.name
        for name in ours.column_names:
            if name in ("image", "text", "views", "pooled", "patches"):
                units = np.abs(_ordered(ours[name]) - _ordered(theirs[name]))
                assert units.max(initial=0) <= 1, f"{name} of {shard.name} is {units.max()} units away"
            else:
                assert ours[name].equals(theirs[name]), f"{name} of {shard.name}"


def _index(folder: Path) -> dict[str, object]:
    index = json.loads((folder / "index.json").read_text())
    for shard in index["shards"].values():
        del shard["sha256"]
    return {"files": sorted(path.name for path in folder.iterdir()), **index}


def _ordered(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Whole numbers that neighbouring float16 values differ by one in; -0 and 0 are the same."""
    bits = np.frombuffer(b"".join(column.to_pylist()), "<i2").astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFF), bits)

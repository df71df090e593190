"""What follows from the table of duplicates."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipn.errors import InvalidData, MissingInput
from clipn.evaluation import duplicates
from clipn.evaluation.duplicates import SCHEMA

ROWS = [
    ("known", "0", "training", "5", 0.98, False),
    ("near", "1", "id", "0", 1.0, True),
    ("near", "1", "id", "3", 0.97, False),
    ("near", "2", "training", "6", 0.97, False),
    ("near", "3", "id", "7", 0.96, False),
    ("far", "2", "training", "8", 1.0, True),
]
TABLE = pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in ROWS], schema=SCHEMA)


@pytest.mark.parametrize(
    ("leave_out", "near", "far"),
    [("none", set(), set()), ("id", {"1", "3"}, set()), ("id-and-training", {"1", "2", "3"}, {"2"})],
)
def test_only_ood_images_are_left_out(leave_out: str, near: set[str], far: set[str]) -> None:
    assert duplicates.left_out(TABLE, ("near", "far"), leave_out) == {"near": near, "far": far}


def test_an_image_counts_once() -> None:
    assert duplicates.count(TABLE, "near", "id") == {"exact": 1, "near": 1}
    assert duplicates.count(TABLE, "near", "training") == {"exact": 0, "near": 1}
    assert duplicates.count(TABLE, "far", "id") == {"exact": 0, "near": 0}


def test_tables_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"duplicates\.parquet does not exist; run 'dvc repro'"):
        duplicates.read(tmp_path)
    pq.write_table(TABLE.drop_columns(["exact"]), tmp_path / "duplicates.parquet")
    with pytest.raises(InvalidData, match="has the columns set, key, other, other_key, cosine, not those"):
        duplicates.read(tmp_path)
    (tmp_path / "duplicates.parquet").write_bytes(b"no Parquet")
    with pytest.raises(InvalidData, match=r"duplicates\.parquet cannot be read as Parquet"):
        duplicates.read(tmp_path)

"""The table of duplicates: which images of a benchmark are also among its ID images or the training images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clipn.errors import InvalidData, MissingInput

ID, TRAINING = "id", "training"
"""Values of `other`."""
FILE = "duplicates.parquet"
LEAVE_OUT = {"none": (), "id": (ID,), "id-and-training": (ID, TRAINING)}

SCHEMA = pa.schema(
    [
        pa.field("set", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("other", pa.string(), nullable=False, metadata={"doc": "`id`: the ID set; `training`: the downloads"}),
        pa.field("other_key", pa.string(), nullable=False),
        pa.field("cosine", pa.float32(), nullable=False),
        pa.field("exact", pa.bool_(), nullable=False, metadata={"doc": "same size and same pixels"}),
    ]
)


def read(folder: Path) -> pa.Table:
    """Read the table of duplicates in a folder that `clipn.evaluation.overlap.write` wrote.

    Raises:
        MissingInput: there is none.
        InvalidData: it is no such table.
    """
    path = folder / FILE
    if not path.is_file():
        raise MissingInput(f"{path} does not exist; run 'dvc repro' to make it")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise InvalidData(f"{path} cannot be read as Parquet: {error}") from error
    if table.schema != SCHEMA:
        raise InvalidData(f"{path} has the columns {', '.join(table.schema.names)}, not those of duplicates")
    return table


def left_out(duplicates: pa.Table, ood: Sequence[str], leave_out: str) -> dict[str, frozenset[str]]:
    """Return OOD set → keys of its images that the evaluation is to drop.

    Args:
        duplicates: table of `SCHEMA`.
        ood: names of the OOD sets; an ID image is never left out.
        leave_out: as in `clipn.config.OverlapParams`.
    """
    of_these = pc.field("other").isin(pa.array(LEAVE_OUT[leave_out], pa.string()))
    chosen = duplicates.filter(of_these)
    return {name: frozenset(chosen.filter(pc.field("set") == name)["key"].to_pylist()) for name in ood}


def count(table: pa.Table, name: str, other: str) -> dict[str, int]:
    """Count how many images of a set have an `exact` duplicate among the others, and how many only a `near` one."""
    rows = table.filter((pc.field("set") == name) & (pc.field("other") == other))
    exact = pc.count_distinct(rows.filter(pc.field("exact"))["key"]).as_py()
    return {"exact": exact, "near": pc.count_distinct(rows["key"]).as_py() - exact}

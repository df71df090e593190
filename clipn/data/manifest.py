"""The manifest: one row for every image that was asked for, sorted by key, whether it arrived or not.

It is the canonical description of a folder of shards. Later stages depend on it, so what they make
does not depend on the order in which images happened to arrive.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from clipn.errors import InvalidData, MissingInput
from clipn.utils.files import atomic_path

SUCCESS = "success"

SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False, metadata={"doc": "sample key in the tar"}),
        pa.field("shard", pa.string(), metadata={"doc": "tar file name; null if the image failed"}),
        pa.field("url", pa.string(), nullable=False, metadata={"doc": "address or file name of the source"}),
        pa.field("caption", pa.string(), metadata={"doc": "training images only"}),
        pa.field("label", pa.int32(), metadata={"doc": "class index; evaluation sets with classes only"}),
        pa.field("sha256", pa.string(), metadata={"doc": "of the image file in the tar"}),
        pa.field("bytes", pa.int64(), metadata={"doc": "size of the image file in the tar"}),
        pa.field("width", pa.int32(), metadata={"doc": "pixels"}),
        pa.field("height", pa.int32(), metadata={"doc": "pixels"}),
        pa.field("status", pa.string(), nullable=False, metadata={"doc": "'success' or why it failed"}),
        pa.field("error", pa.string(), metadata={"doc": "the failure's own message"}),
    ]
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One image; the fields are those of `SCHEMA`."""

    key: str
    url: str
    status: str = SUCCESS
    shard: str | None = None
    caption: str | None = None
    label: int | None = None
    sha256: str | None = None
    bytes: int | None = None
    width: int | None = None
    height: int | None = None
    error: str | None = None


def write(path: str | Path, entries: Iterable[Entry]) -> None:
    """Write entries sorted by key, atomically.

    Raises:
        InvalidData: a key appears twice.
    """
    rows = sorted(entries, key=lambda entry: entry.key)
    for before, after in pairwise(rows):
        if before.key == after.key:
            raise InvalidData(f"{path}: the key {after.key!r} appears twice")
    with atomic_path(path) as temporary:
        pq.write_table(table(rows), temporary)


def join(path: str | Path, parts: Iterable[pa.Table]) -> None:
    """Write the manifest that parts make, each sorted and all of its keys after those of the part before.

    Only one part is in memory at a time.

    Raises:
        InvalidData: a key is not after the one before it.
    """
    last = ""
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, SCHEMA) as writer:
        for part in parts:
            keys = [last, *part["key"].to_pylist()]
            for before, after in pairwise(keys):
                if before >= after:
                    raise InvalidData(f"{path}: the key {after!r} comes after {before!r}")
            last = keys[-1]
            writer.write_table(part)


def read(path: str | Path) -> list[Entry]:
    """Read a manifest.

    Raises:
        MissingInput: there is no such file.
        InvalidData: it is no manifest.
    """
    columns = (column.to_pylist() for column in read_table(path).columns)
    return [Entry(**dict(zip(SCHEMA.names, row, strict=True))) for row in zip(*columns, strict=True)]


def read_table(path: str | Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return a manifest as a table, for those who need a few columns of millions of rows.

    Raises:
        as `read`.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInput(f"{path} does not exist; run 'dvc repro' to make it")
    try:
        names = pq.read_schema(path).names
        if names != SCHEMA.names:
            raise InvalidData(f"{path} is not a manifest: it has the columns {', '.join(names)}")
        return pq.read_table(path, columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise InvalidData(f"{path} is not a Parquet file: {error}") from error


def by_shard(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Tar file name → its good entries, both in order."""
    shards: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.shard is not None and entry.status == SUCCESS:
            shards.setdefault(entry.shard, []).append(entry)
    return dict(sorted(shards.items()))


def status_counts(entries: Iterable[Entry]) -> dict[str, int]:
    """Return status → number of entries, most frequent first."""
    return dict(Counter(entry.status for entry in entries).most_common())


def table(rows: Sequence[Entry]) -> pa.Table:
    """Return entries as a table of `SCHEMA`, in the given order."""
    columns = {field.name: [getattr(row, field.name) for row in rows] for field in SCHEMA}
    return pa.table(columns, schema=SCHEMA)

"""Writing of one feature shard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clipn.errors import NonFinite
from clipn.features.rows import FeatureBatch, FeatureMeta
from clipn.utils.files import atomic_path

ROW_GROUP = 4096
"""Rows of a row group, whatever the batches were that they came in; the last one of a shard has what is left."""


class ShardWriter:
    """Writes one Parquet shard batch by batch; made by `write_shard`."""

    def __init__(self, writer: pq.ParquetWriter, meta: FeatureMeta, path: Path) -> None:
        self._writer, self._meta, self._path = writer, meta, path
        self._schema = meta.schema()
        self._waiting: list[pa.Table] = []
        self._written = 0

    @property
    def rows(self) -> int:
        """Rows added so far."""
        return self._written + sum(len(table) for table in self._waiting)

    def append(self, batch: FeatureBatch) -> None:
        """Add rows.

        Raises:
            NonFinite: a feature is NaN or infinite, also after rounding to float16.
        """
        columns = [pa.array(batch.keys, pa.string()), self._vectors("image", batch)]
        if self._meta.kind == "training":
            assert batch.tokens is not None
            offsets = pa.array(batch.tokens.offsets, pa.int32())
            columns += [
                self._vectors("text", batch),
                pa.ListArray.from_arrays(offsets, pa.array(batch.tokens.values, pa.int32())),
            ]
        else:
            assert batch.label is not None
            columns.append(pa.array(batch.label, pa.int32(), mask=batch.label < 0))
        columns += [self._vectors(c, batch) for c in ("views", "pooled", "patches") if getattr(self._meta, c)]
        self._waiting.append(pa.Table.from_arrays(columns, schema=self._schema))
        if sum(len(table) for table in self._waiting) >= ROW_GROUP:
            self._write(whole_groups=True)

    def finish(self) -> None:
        """Write the rows that fill no row group of their own."""
        if self._waiting:
            self._write(whole_groups=False)

    def _write(self, whole_groups: bool) -> None:
        # One chunk, because Parquet starts a page wherever a chunk starts.
        table = pa.concat_tables(self._waiting).combine_chunks()
        count = len(table) // ROW_GROUP * ROW_GROUP if whole_groups else len(table)
        self._writer.write_table(table.slice(0, count), row_group_size=ROW_GROUP)
        self._written += count
        self._waiting = [table.slice(count)] if count < len(table) else []

    def _vectors(self, column: str, batch: FeatureBatch) -> pa.Array:
        values: NDArray[np.floating] = getattr(batch, column)
        with np.errstate(over="ignore"):  # an overflow becomes infinite and is found below
            half = np.ascontiguousarray(values, dtype="<f2")
        shape = (len(batch), *self._meta.vector_shape(column))
        if half.shape != shape:
            raise ValueError(f"{column} features have shape {half.shape}, not {shape}")
        bad = np.flatnonzero(~np.isfinite(half).all(axis=tuple(range(1, half.ndim))))
        if bad.size:
            key = str(batch.keys[int(bad[0])])
            raise NonFinite(f"{self._path.name}: the {column} feature of {key!r} is not finite")
        width = self._schema.field(column).type
        return pa.Array.from_buffers(width, len(batch), [None, pa.py_buffer(half)])


@contextmanager
def write_shard(path: str | Path, meta: FeatureMeta) -> Iterator[ShardWriter]:
    """Write one shard; the file appears whole when the block ends, or not at all."""
    with atomic_path(path) as temporary:
        # Minimum and maximum of a vector's bytes mean nothing.
        options = {
            "use_dictionary": False,
            "compression": "NONE",
            "write_statistics": False,
            "write_page_checksum": True,
        }
        with pq.ParquetWriter(temporary, meta.schema(), **options) as writer:
            shard = ShardWriter(writer, meta, Path(path))
            yield shard
            shard.finish()

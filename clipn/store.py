"""The feature store: a folder of Parquet shards with an index that is written last.

Vectors are float16 in `FixedSizeBinary` columns without dictionary or compression, which Parquet
reads about fifty times faster than lists of floats. The schema metadata under the key `clipn` says
what the numbers are; the same columns open in plain pyarrow, pandas or DuckDB.

    key     string               sample key in the tar
    image   fixed binary, 2·D    unit-norm image feature, float16, little endian
    label   int32                class index, null without classes (evaluation sets)
    text    fixed binary, 2·D    unit-norm "yes" text feature (training features)
    tokens  list<int32>          token ids up to the end token (training features)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clipn.errors import BackboneMismatch, InvalidData, MissingInput, NonFinite
from clipn.io import atomic_path, read_json, write_json

INDEX = "index.json"
METADATA_KEY = b"clipn"


@dataclass(frozen=True)
class FeatureMeta:
    """What the numbers of a store are.

    Attributes:
        dim: D, length of a feature vector.
        backbone: fingerprint of the model that made them.
        preprocess: the tower's own description of its preprocessing.
        logit_scale: the backbone's factor on cosine similarities.
        kind: `training` (image, text, tokens) or `evaluation` (image, label).
        classes: class names, in the order of the labels; empty without classes.
    """

    dim: int
    backbone: str
    preprocess: str
    logit_scale: float
    kind: str
    classes: tuple[str, ...] = ()
    dtype: str = "float16"
    normalised: bool = True

    def schema(self) -> pa.Schema:
        vector = pa.binary(2 * self.dim)
        fields = [pa.field("key", pa.string(), nullable=False), pa.field("image", vector, nullable=False)]
        if self.kind == "training":
            fields += [
                pa.field("text", vector, nullable=False),
                pa.field("tokens", pa.list_(pa.int32()), nullable=False),
            ]
        else:
            fields.append(pa.field("label", pa.int32()))
        return pa.schema(fields, metadata={METADATA_KEY: json.dumps(asdict(self), sort_keys=True)})


@dataclass(frozen=True)
class FeatureBatch:
    """Rows of a store.

    Attributes:
        keys: N sample keys.
        image: unit-norm image features [N, D].
        label: class indices [N], -1 without a class; evaluation only.
        text: unit-norm text features [N, D]; training only.
        tokens: N arrays of token ids up to the end token; training only.
    """

    keys: Sequence[str]
    image: NDArray[np.floating]
    label: NDArray[np.int32] | None = None
    text: NDArray[np.floating] | None = None
    tokens: Sequence[NDArray[np.int32]] | None = None


def unit_norm(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Stored features [N, D] as float32 of exactly unit norm.

    Rounding to float16 moves the norm by up to 1e-4, which is enough to push a cosine above 1 and
    the square root in CLIPN's text loss below 0.
    """
    values = features.astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


class ShardWriter:
    """Writes one Parquet shard batch by batch; made by `write_shard`."""

    def __init__(self, writer: pq.ParquetWriter, meta: FeatureMeta, path: Path) -> None:
        self._writer, self._meta, self._path = writer, meta, path
        self.rows = 0

    def append(self, batch: FeatureBatch) -> None:
        """Add rows.

        Raises:
            NonFinite: a feature is NaN or infinite, also after rounding to float16.
        """
        columns = [pa.array(batch.keys, pa.string()), self._vectors("image", batch.image, batch.keys)]
        if self._meta.kind == "training":
            assert batch.text is not None
            assert batch.tokens is not None
            columns += [
                self._vectors("text", batch.text, batch.keys),
                pa.array(batch.tokens, pa.list_(pa.int32())),
            ]
        else:
            assert batch.label is not None
            columns.append(pa.array(batch.label, pa.int32(), mask=batch.label < 0))
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._meta.schema()))
        self.rows += len(batch.keys)

    def _vectors(self, column: str, values: NDArray[np.floating], keys: Sequence[str]) -> pa.Array:
        with np.errstate(over="ignore"):  # an overflow becomes infinite and is found below
            half = np.ascontiguousarray(values, dtype="<f2")
        if half.shape != (len(keys), self._meta.dim):
            raise ValueError(f"{column} features have shape {half.shape}, not {(len(keys), self._meta.dim)}")
        bad = np.flatnonzero(~np.isfinite(half).all(axis=1))
        if bad.size:
            raise NonFinite(f"{self._path.name}: the {column} feature of {keys[bad[0]]!r} is not finite")
        return pa.Array.from_buffers(pa.binary(2 * self._meta.dim), len(keys), [None, pa.py_buffer(half)])


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
            yield ShardWriter(writer, meta, Path(path))


def write_index(folder: str | Path, shards: Sequence[Path]) -> None:
    """Finish a store: list its shards. A folder without an index is no store."""
    rows = {path.name: pq.read_metadata(path).num_rows for path in shards}
    write_json(Path(folder) / INDEX, {"rows": sum(rows.values()), "shards": rows})


class FeatureStore:
    """A folder of feature shards, opened for reading.

    Attributes:
        folder: where it lies.
        meta: what the numbers are.
    """

    def __init__(self, folder: Path, meta: FeatureMeta, shards: dict[str, int]) -> None:
        self.folder, self.meta, self._shards = folder, meta, shards

    @classmethod
    def open(cls, folder: str | Path, backbone: str | None = None) -> FeatureStore:
        """Open a store.

        Args:
            folder: what `write_index` finished.
            backbone: fingerprint that the features must come from; None accepts any.

        Raises:
            MissingInput: no store, or a shard of it is gone.
            InvalidData: a shard is damaged or differs from the index or from the other shards.
            BackboneMismatch: the features were made by another backbone.
        """
        folder = Path(folder)
        shards: dict[str, int] = read_json(folder / INDEX)["shards"]
        if not shards:
            raise InvalidData(f"{folder} holds no features")
        metas = {name: read_meta(folder / name, rows) for name, rows in shards.items()}
        meta = next(iter(metas.values()))
        for name, other in metas.items():
            if other != meta:
                raise InvalidData(f"{folder / name} was made otherwise than the first shard; make the features again")
        if backbone is not None and meta.backbone != backbone:
            raise BackboneMismatch(
                f"{folder} holds features of backbone {meta.backbone}, but this is {backbone}; "
                "make the features again with 'dvc repro'"
            )
        return cls(folder, meta, shards)

    def __len__(self) -> int:
        return sum(self._shards.values())

    def batches(self) -> Iterator[FeatureBatch]:
        """All rows in order, one row group at a time, as float16 views without a copy."""
        for name in self._shards:
            path = self.folder / name
            try:
                with pq.ParquetFile(path, page_checksum_verification=True) as file:
                    for group in range(file.num_row_groups):
                        yield self._batch(file.read_row_group(group))
            except (OSError, pa.ArrowInvalid) as error:
                raise InvalidData(f"{path} is damaged: {error}; make the features again") from error

    def load(self) -> FeatureBatch:
        """All rows in memory, features as float16."""
        parts = list(self.batches())
        training = self.meta.kind == "training"
        return FeatureBatch(
            keys=[key for part in parts for key in part.keys],
            image=np.concatenate([part.image for part in parts]),
            label=None if training else np.concatenate([part.label for part in parts if part.label is not None]),
            text=np.concatenate([part.text for part in parts if part.text is not None]) if training else None,
            tokens=[row for part in parts for row in part.tokens or ()] if training else None,
        )

    def _batch(self, table: pa.Table) -> FeatureBatch:
        table = table.combine_chunks()
        keys = table["key"].to_pylist()
        image = self._matrix(table["image"])
        if self.meta.kind == "training":
            tokens = table["tokens"].chunk(0)
            values, offsets = tokens.values.to_numpy(), tokens.offsets.to_numpy()
            rows = [values[a:b] for a, b in pairwise(offsets)]
            return FeatureBatch(keys, image, text=self._matrix(table["text"]), tokens=rows)
        label = table["label"].fill_null(-1).to_numpy()
        return FeatureBatch(keys, image, label=label)

    def _matrix(self, column: pa.ChunkedArray) -> NDArray[np.float16]:
        array = column.chunk(0)
        start, size = array.offset * self.meta.dim, len(array) * self.meta.dim
        return np.frombuffer(array.buffers()[1], "<f2")[start : start + size].reshape(len(array), self.meta.dim)


def read_meta(path: Path, rows: int | None = None) -> FeatureMeta:
    """What the metadata of a shard say.

    Args:
        path: the shard.
        rows: how many rows it has to have; None accepts any number.

    Raises:
        MissingInput, InvalidData: as `FeatureStore.open`.
    """
    if not path.is_file():
        raise MissingInput(f"{path} is listed in {path.parent / INDEX} but not there; make the features again")
    try:
        file = pq.read_metadata(path)
        schema = file.schema.to_arrow_schema()
        values = json.loads((schema.metadata or {})[METADATA_KEY])
        meta = FeatureMeta(**{**values, "classes": tuple(values["classes"])})
    except (pa.ArrowInvalid, KeyError, ValueError, TypeError) as error:
        raise InvalidData(f"{path} is no feature shard: {error}") from error
    if rows is not None and file.num_rows != rows:
        raise InvalidData(f"{path} has {file.num_rows} rows, the index says {rows}; make the features again")
    return meta

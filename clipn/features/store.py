"""The feature store: a folder of Parquet shards with an index that is written last.

Vectors are float16 in `FixedSizeBinary` columns without dictionary or compression, which Parquet
reads about fifty times faster than lists of floats. The schema metadata under the key `clipn` says
what the numbers are; the same columns open in plain pyarrow, pandas or DuckDB.

    key     string               sample key in the tar
    image   fixed binary, 2·D    unit-norm image feature, float16, little endian
    label   int32                class index, null without classes (evaluation sets)
    text    fixed binary, 2·D    unit-norm "yes" text feature (training features)
    tokens  list<int32>          token ids up to the end token (training features)
    views   fixed binary, 2·D·V  unit-norm features of V random crops (training features with views)
    pooled  fixed binary, 2·P    feature before the projection, not normalised (evaluation sets)
    patches fixed binary, 2·D·T  unit-norm features of T patches (evaluation sets, where wanted)

Row groups have 4096 rows, whatever the batches were that a shard was written in; the last of a
shard has what is left. The index holds the SHA-256 of every shard.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clipn.errors import BackboneMismatch, InvalidData, MissingInput
from clipn.features.rows import METADATA_KEY, FeatureBatch, FeatureMeta
from clipn.features.tokens import TokenLists
from clipn.features.writer import ROW_GROUP, write_shard
from clipn.utils.arrays import unit_norm
from clipn.utils.files import read_json, sha256, write_json

__all__ = [
    "INDEX",
    "METADATA_KEY",
    "ROW_GROUP",
    "FeatureBatch",
    "FeatureMeta",
    "FeatureStore",
    "RowGroup",
    "TokenLists",
    "read_meta",
    "unit_norm",
    "write_index",
    "write_shard",
]

INDEX = "index.json"
COLUMNS = ("image", "label", "text", "tokens", "views", "pooled", "patches")
"""What a row may hold besides its key."""


@dataclass(frozen=True)
class RowGroup:
    """A part of a store that is read at once: group `index` of the file `shard`, with `rows` rows."""

    shard: str
    index: int
    rows: int


def write_index(folder: str | Path, shards: Sequence[Path]) -> None:
    """Finish a store: list its shards with their hashes. A folder without an index is no store."""
    entries = {path.name: {"rows": pq.read_metadata(path).num_rows, "sha256": sha256(path)} for path in shards}
    write_json(Path(folder) / INDEX, {"rows": sum(entry["rows"] for entry in entries.values()), "shards": entries})


class FeatureStore:
    """A folder of feature shards, opened for reading; no file stays open, and threads may share it.

    Attributes:
        folder: where it lies.
        meta: what the numbers are.
        fingerprint: SHA-256 over the index; changes exactly when the content of a shard does.
    """

    def __init__(
        self, folder: Path, meta: FeatureMeta, hashes: dict[str, str], footers: dict[str, pq.FileMetaData]
    ) -> None:
        self.folder, self.meta, self._hashes, self._footers = folder, meta, hashes, footers
        self.fingerprint = hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()

    @classmethod
    def open(cls, folder: str | Path, backbone: str | None = None) -> FeatureStore:
        """Open a store.

        Args:
            folder: what `write_index` finished.
            backbone: fingerprint that the features must come from; None accepts any.

        Raises:
            MissingInput: no store, or a shard of it is gone.
            InvalidData: a shard is damaged or differs from the index or from the other shards, or the
                index is of a layout without hashes.
            BackboneMismatch: the features were made by another backbone.
        """
        folder = Path(folder)
        index = _read_index(folder / INDEX)
        footers: dict[str, pq.FileMetaData] = {}
        meta = None
        for name, entry in index.items():
            if not (folder / name).is_file():
                raise MissingInput(f"{folder / name} is listed in {INDEX} but not there; make the features again")
            footers[name], other = _read_footer(folder / name)
            if footers[name].num_rows != entry["rows"]:
                raise InvalidData(
                    f"{folder / name} has {footers[name].num_rows} rows, {INDEX} says {entry['rows']}; "
                    "make the features again"
                )
            meta = meta or other
            if other != meta:
                raise InvalidData(f"{folder / name} was made otherwise than the first shard; make the features again")
        if meta is None or not sum(footer.num_rows for footer in footers.values()):
            raise InvalidData(f"{folder} holds no features")
        store = cls(folder, meta, {name: entry["sha256"] for name, entry in index.items()}, footers)
        if backbone is not None:
            store.require_backbone(backbone)
        return store

    def __len__(self) -> int:
        return sum(footer.num_rows for footer in self._footers.values())

    def require_backbone(self, fingerprint: str) -> None:
        """Check which backbone made the features.

        Raises:
            BackboneMismatch: another one.
        """
        if self.meta.backbone != fingerprint:
            raise BackboneMismatch(
                f"{self.folder} holds features of backbone {self.meta.backbone}, but this is {fingerprint}; "
                "make the features again with 'dvc repro'"
            )

    def verify(self) -> None:
        """Read every shard and compare it with its hash in the index.

        Raises:
            InvalidData: a shard is not the one that the index was written for.
        """
        for name, expected in self._hashes.items():
            if sha256(self.folder / name) != expected:
                raise InvalidData(f"{self.folder / name} is not the shard that {INDEX} lists; make the features again")

    def row_groups(self) -> list[RowGroup]:
        """Return all row groups, in the order of the files."""
        return [
            RowGroup(name, index, footer.row_group(index).num_rows)
            for name, footer in self._footers.items()
            for index in range(footer.num_row_groups)
            if footer.row_group(index).num_rows
        ]

    def read(self, group: RowGroup, columns: Sequence[str] | None = None) -> FeatureBatch:
        """Return the rows of one row group, as float16 views of what was read, with keys as an Arrow array.

        Args:
            group: one of `row_groups()`.
            columns: which columns to read; None reads all. `key` and `image` always come.

        Raises:
            ValueError: features of this kind have no such column.
            InvalidData: the shard is damaged.
        """
        names: list[str] = self.meta.schema().names
        if columns is not None:
            if unknown := set(columns) - set(names):
                raise ValueError(f"{self.folder} has no column {', '.join(sorted(unknown))}; it has {', '.join(names)}")
            names = [name for name in names if name in ("key", "image", *columns)]
        path = self.folder / group.shard
        try:
            # A file that stays open keeps its last row group in memory; with the footer at hand, opening is cheap.
            with pq.ParquetFile(path, metadata=self._footers[group.shard], page_checksum_verification=True) as file:
                return self._batch(file.read_row_group(group.index, columns=names))
        except (OSError, pa.ArrowInvalid) as error:
            raise InvalidData(f"{path} is damaged: {error}; make the features again") from error

    def batches(self) -> Iterator[FeatureBatch]:
        """Yield all rows in order, one row group at a time, as `read` gives them."""
        return (self.read(group) for group in self.row_groups())

    def load(self, columns: Sequence[str] | None = None) -> FeatureBatch:
        """Return all rows in memory, features as float16 and keys as a list; of the columns that `read` names."""
        parts = [self.read(group, columns) for group in self.row_groups()]

        def joined(column: str) -> Any:
            columns = [getattr(part, column) for part in parts if getattr(part, column) is not None]
            if columns and isinstance(columns[0], TokenLists):
                return TokenLists.concatenate(columns)
            return np.concatenate(columns) if columns else None

        return FeatureBatch(
            keys=pa.concat_arrays([part.keys for part in parts]).to_pylist(),
            **{column: joined(column) for column in COLUMNS},
        )

    def _batch(self, table: pa.Table) -> FeatureBatch:
        columns = dict(zip(table.column_names, (column.chunk(0) for column in table.combine_chunks()), strict=True))
        label = columns.get("label")
        vectors = ("image", "text", "views", "pooled", "patches")
        return FeatureBatch(
            keys=columns["key"],
            label=None if label is None else label.fill_null(-1).to_numpy(),
            tokens=_token_lists(columns["tokens"]) if "tokens" in columns else None,
            **{c: self._vectors(columns[c], *self.meta.vector_shape(c)) for c in vectors if c in columns},
        )

    def _vectors(self, array: pa.FixedSizeBinaryArray, *shape: int) -> NDArray[np.float16]:
        size = int(np.prod(shape))
        start, stop = array.offset * size, (array.offset + len(array)) * size
        return np.frombuffer(array.buffers()[1], "<f2")[start:stop].reshape(len(array), *shape)


def _token_lists(array: pa.ListArray) -> TokenLists:
    offsets = array.offsets.to_numpy().astype(np.int64)
    return TokenLists(array.values.to_numpy()[offsets[0] : offsets[-1]], offsets - offsets[0])


def read_meta(path: Path) -> FeatureMeta:
    """Return what the metadata of a shard say.

    Raises:
        InvalidData: the file is no feature shard, or its columns are not those that its metadata promise.
    """
    return _read_footer(path)[1]


def _read_footer(path: Path) -> tuple[pq.FileMetaData, FeatureMeta]:
    try:
        footer = pq.read_metadata(path)
        schema = footer.schema.to_arrow_schema()
        values = json.loads((schema.metadata or {})[METADATA_KEY])
        scale = values.get("view_scale")
        meta = FeatureMeta(
            **{**values, "classes": tuple(values["classes"]), "view_scale": None if scale is None else tuple(scale)}
        )
        expected = meta.schema()
    except (OSError, pa.ArrowInvalid, KeyError, ValueError, TypeError, AttributeError) as error:
        raise InvalidData(f"{path} is no feature shard: {error}") from error
    if schema.remove_metadata() != expected.remove_metadata():
        raise InvalidData(f"{path} has the columns {schema.names} of types {schema.types}, not those of {meta}")
    return footer, meta


def _read_index(path: Path) -> dict[str, dict[str, Any]]:
    index = read_json(path)
    try:
        shards: dict[str, dict[str, Any]] = index["shards"]
        good = all(
            Path(name).name == name and isinstance(entry["rows"], int) and isinstance(entry["sha256"], str)
            for name, entry in shards.items()
        )
    except (KeyError, TypeError, AttributeError):
        good = False
    if not good:
        raise InvalidData(
            f"{path} does not list shards with rows and sha256, as features of an earlier version do not; "
            "make the features again with 'dvc repro'"
        )
    return shards

"""What a file of the project holds, in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from clipn import manifest, store
from clipn.errors import InvalidData, MissingInput


def describe(path: str | Path, verify: bool = False) -> Iterator[str]:
    """Lines about a feature store, a feature shard, a manifest or any other Parquet file.

    Args:
        path: file, or folder of a feature store.
        verify: compare a store's shards with the hashes in its index, which reads them whole.

    Raises:
        MissingInput: there is no such file or folder.
        InvalidData: it is of none of these kinds, damaged, or does not pass `verify`.
    """
    path = Path(path)
    if (path / store.INDEX).is_file():
        features = store.FeatureStore.open(path)
        yield f"{path}: feature store, {len(features)} rows"
        yield from _meta(features.meta)
        yield f"  fingerprint {features.fingerprint[:16]}"
        if verify:
            features.verify()
            yield "  all shards are those that the index lists"
        return
    if verify:
        raise InvalidData(f"{path} is no feature store; only a store has an index to compare with")
    if path.is_dir():
        raise InvalidData(f"{path} is a folder without {store.INDEX}; name a feature store or a Parquet file")
    if not path.is_file():
        raise MissingInput(f"{path} does not exist")
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise InvalidData(f"{path} is no Parquet file: {error}") from error
    yield f"{path}: {file.metadata.num_rows} rows in {file.num_row_groups} row groups, {path.stat().st_size:,} bytes"
    for column in file.schema_arrow:
        note = (column.metadata or {}).get(b"doc", b"").decode()
        yield f"  {column.name}: {column.type}{f'  ({note})' if note else ''}"
    if store.METADATA_KEY in (file.schema_arrow.metadata or {}):
        yield from _meta(store.read_meta(path))
    elif file.schema_arrow.names == manifest.SCHEMA.names:
        for status, count in manifest.status_counts(manifest.read(path)).items():
            yield f"  {count} × {status}"


def _meta(meta: store.FeatureMeta) -> Iterator[str]:
    yield f"  {meta.kind} features: {meta.dim} numbers, {meta.dtype}, {'unit norm' if meta.normalised else 'raw'}"
    yield f"  backbone {meta.backbone}, logit scale {meta.logit_scale:.4g}"
    yield f"  preprocessing: {meta.preprocess}"
    if meta.views and meta.view_scale:
        low, high = meta.view_scale
        yield f"  {meta.views} random views an image, of {low:g} to {high:g} of its area"
    if meta.classes:
        yield f"  {len(meta.classes)} classes: {', '.join(meta.classes[:5])}{' …' if len(meta.classes) > 5 else ''}"

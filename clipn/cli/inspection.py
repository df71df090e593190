"""What `clipn inspect` prints: the content of a file of the project, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clipn.data import manifest
from clipn.data.manifest import Entry
from clipn.errors import InvalidData, MissingInput
from clipn.features import store
from clipn.features.rows import FeatureMeta

SHOWN = 5
"""Names that are listed before the rest is left out."""

WORD_COLUMNS = ["entry", "kind", "topic", "feature"]
"""What `clipn.prompts.words` writes; that module is not imported, since it brings torch."""


def describe(path: str | Path, verify: bool = False) -> Iterator[str]:
    """Yield lines about a feature store, a feature shard, a manifest or any other Parquet file.

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
        shards = sorted({group.shard for group in features.row_groups()})
        size = sum((path / name).stat().st_size for name in shards)
        yield f"{path}: feature store, {len(features):,} rows in {len(shards)} shards, {size:,} bytes"
        yield from _meta(features.meta)
        yield f"  fingerprint {features.fingerprint[:16]}"
        yield from _rows([path / name for name in shards], features.meta)
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
    kind, details = _details(path, file)
    groups = f"{file.num_row_groups} row group{'' if file.num_row_groups == 1 else 's'}"
    yield f"{path}: {kind}, {file.metadata.num_rows:,} rows in {groups}, {path.stat().st_size:,} bytes"
    for column in file.schema_arrow:
        note = (column.metadata or {}).get(b"doc", b"").decode()
        yield f"  {column.name}: {column.type}{f'  ({note})' if note else ''}"
    yield from details


def _details(path: Path, file: pq.ParquetFile) -> tuple[str, Iterator[str]]:
    """Return the kind of a Parquet file, and lines that only this kind has."""
    if file.schema_arrow.names == WORD_COLUMNS:
        return "word features", iter(())
    if store.METADATA_KEY in (file.schema_arrow.metadata or {}):
        meta = store.read_meta(path)
        return "feature shard", iter([*_meta(meta), *_rows([path], meta)])
    if file.schema_arrow.names == manifest.SCHEMA.names:
        return "manifest", _images(manifest.read(path))
    return "Parquet file", iter(())


def _meta(meta: FeatureMeta) -> Iterator[str]:
    yield f"  {meta.kind} features: {meta.dim} numbers, {meta.dtype}, {'unit norm' if meta.normalised else 'raw'}"
    yield f"  backbone {meta.backbone}, logit scale {meta.logit_scale:.4g}"
    yield f"  preprocessing: {meta.preprocess}"
    if meta.views and meta.view_scale:
        low, high = meta.view_scale
        yield f"  {meta.views} random views an image, of {low:g} to {high:g} of its area"
    if meta.classes:
        yield f"  {len(meta.classes)} classes: {_some(meta.classes)}"


def _rows(shards: Sequence[Path], meta: FeatureMeta) -> Iterator[str]:
    """Yield the first keys, and how the labels or the lengths of captions are spread."""
    try:
        keys = next((file.column(0) for file in _columns(shards, "key") if file.num_rows), pa.chunked_array([[]]))
        yield f"  keys: {_some(keys[: SHOWN + 1].to_pylist())}"
        if meta.kind == "training":
            lengths = Counter[int]()
            for table in _columns(shards, "tokens"):
                lengths.update(pc.list_value_length(table["tokens"]).to_pylist())
            if lengths:
                mean = sum(length * count for length, count in lengths.items()) / lengths.total()
                yield f"  captions of {min(lengths)} to {max(lengths)} tokens, {mean:.1f} on average"
        elif meta.classes:
            labels = Counter[int | None]()
            for table in _columns(shards, "label"):
                labels.update(table["label"].to_pylist())
            yield f"  images a class: {_spread([labels[index] for index in range(len(meta.classes))])}"
            if labels[None]:
                yield f"  {labels[None]:,} images without a class"
    except (OSError, pa.ArrowInvalid) as error:
        raise InvalidData(f"a shard of {shards[0].parent} is damaged: {error}; make the features again") from error


def _columns(shards: Sequence[Path], column: str) -> Iterator[pa.Table]:
    return (pq.read_table(path, columns=[column], page_checksum_verification=True) for path in shards)


def _images(entries: Sequence[Entry]) -> Iterator[str]:
    for status, count in manifest.status_counts(entries).items():
        yield f"  {count:,} × {status}"
    good = [entry for entry in entries if entry.status == manifest.SUCCESS]
    shards = {entry.shard for entry in good if entry.shard is not None}
    size = sum(entry.bytes or 0 for entry in good)
    yield f"  good images in {len(shards)} tars, {size:,} bytes"
    sides = [min(entry.width, entry.height) for entry in good if entry.width and entry.height]
    if sides:
        yield f"  shorter side: {_spread(sides)} pixels"
    if captioned := sum(entry.caption is not None for entry in good):
        yield f"  {captioned:,} with a caption"
    labels = Counter(entry.label for entry in good if entry.label is not None)
    if labels:
        yield f"  {labels.total():,} with a label, {len(labels)} classes, images a class: {_spread(labels.values())}"
    yield f"  keys: {_some([entry.key for entry in islice(entries, SHOWN + 1)])}"


def _spread(counts: Collection[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")

"""Which images are taken where not all are, and what is drawn for each of them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clipn.features.rows import FeatureBatch
from clipn.features.store import FeatureStore, RowGroup

Rows = NDArray[np.intp]


def evenly(total: int, count: int) -> Rows:
    """The rows of `count` images, or of all, spread evenly over `total`; the first and the last are among them."""
    return np.linspace(0, total - 1, min(count, total)).round().astype(np.intp)


def shares(count: int, sizes: Sequence[int]) -> list[int]:
    """How many of `count` images each set gives: as equally many as their sizes allow."""
    given, left = [0] * len(sizes), count
    for rank, i in enumerate(sorted(range(len(sizes)), key=lambda i: sizes[i])):
        given[i] = min(sizes[i], left // (len(sizes) - rank))
        left -= given[i]
    return given


def stream(*names: object) -> np.random.Generator:
    """Random numbers that depend on these names alone, whatever else is drawn before or beside."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256("\0".join(map(str, names)).encode()).digest()))


def keys_of(store: FeatureStore, left_out: Collection[str] = ()) -> list[str]:
    """The keys of a store in its order, but those that are `left_out`."""
    return [key for group in store.row_groups() for key in _read(store, group, ()).keys if key not in left_out]


def some(store: FeatureStore, count: int, left_out: Collection[str] = ()) -> list[str]:
    """The keys of `count` images of a store, or of all, spread evenly over those that are not left out."""
    keys = keys_of(store, left_out)
    return [keys[i] for i in evenly(len(keys), count)]


def take(store: FeatureStore, keys: Sequence[str], columns: Sequence[str]) -> FeatureBatch:
    """The features of some images, in the order of `keys`, which may repeat; besides them one row group is in memory.

    Args:
        store: of evaluation features, which holds these images.
        keys: of at least one image.
        columns: as in `FeatureStore.read`.
    """
    wanted, parts = set(keys), []
    for group in store.row_groups():
        batch = _read(store, group, columns)
        if rows := [i for i, key in enumerate(batch.keys) if key in wanted]:
            parts.append(batch.rows(rows))
    found = join(parts)
    place = {key: i for i, key in enumerate(found.keys)}
    return found.rows([place[key] for key in keys])


def join(parts: Sequence[FeatureBatch]) -> FeatureBatch:
    """Rows of evaluation features one after the other."""

    def joined(column: str) -> Any:
        values = [getattr(part, column) for part in parts]
        return None if values[0] is None else np.concatenate(values)

    columns = {column: joined(column) for column in ("image", "label", "pooled", "patches")}
    return FeatureBatch([key for part in parts for key in part.keys], **columns)


def _read(store: FeatureStore, group: RowGroup, columns: Sequence[str]) -> FeatureBatch:
    """A row group with its keys as a list."""
    batch = store.read(group, columns)
    return replace(batch, keys=pa.array(batch.keys).to_pylist())

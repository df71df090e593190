"""Features of some images of a store, chosen by their keys."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from clipn.features.rows import FeatureBatch
from clipn.features.store import FeatureStore, RowGroup
from clipn.utils.sampling import evenly


def keys_of(store: FeatureStore, left_out: Collection[str] = ()) -> list[str]:
    """Return the keys of a store in its order, but those that are `left_out`."""
    return [key for group in store.row_groups() for key in _read(store, group, ()).keys if key not in left_out]


def some(store: FeatureStore, count: int, left_out: Collection[str] = ()) -> list[str]:
    """Return the keys of `count` images of a store, or of all, spread evenly over those that are not left out."""
    keys = keys_of(store, left_out)
    return [keys[i] for i in evenly(len(keys), count)]


def take(store: FeatureStore, keys: Sequence[str], columns: Sequence[str]) -> FeatureBatch:
    """Return the features of some images, in the order of `keys`, which may repeat.

    Besides them, one row group is in memory.

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
    taken = join(parts)
    row_of = {key: i for i, key in enumerate(taken.keys)}
    return taken.rows([row_of[key] for key in keys])


def join(parts: Sequence[FeatureBatch]) -> FeatureBatch:
    """Return rows of evaluation features one after the other."""

    def joined(column: str) -> Any:
        values = [getattr(part, column) for part in parts]
        return None if values[0] is None else np.concatenate(values)

    columns = {column: joined(column) for column in ("image", "label", "pooled", "patches")}
    return FeatureBatch([key for part in parts for key in part.keys], **columns)


def _read(store: FeatureStore, group: RowGroup, columns: Sequence[str]) -> FeatureBatch:
    """A row group with its keys as a list."""
    batch = store.read(group, columns)
    return replace(batch, keys=pa.array(batch.keys).to_pylist())

"""Training features of random numbers, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipn.features.store import FeatureBatch, FeatureMeta, TokenLists, write_index, write_shard

START, END = 49406, 49407


def unit(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    values = rng.normal(size=shape).astype(np.float32)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def write_pairs(folder: Path, shards: Sequence[int], dim: int = 16, backbone: str = "abc", views: int = 0) -> Path:
    """A store with so many pairs in each shard; the key of pair 7 of shard 1 is `1-7`."""
    rng = np.random.default_rng(0)
    meta = FeatureMeta(
        dim=dim, backbone=backbone, preprocess="size=16", logit_scale=14.0, kind="training", views=views,
        view_scale=(0.9, 1.0) if views else None,
    )  # fmt: skip
    paths = []
    for shard, rows in enumerate(shards):
        path = folder / f"{shard:05d}.parquet"
        tokens = [
            np.array([START, *rng.integers(1, 49000, size=length), END], np.int32)
            for length in rng.integers(1, 12, size=rows)
        ]
        with write_shard(path, meta) as writer:
            writer.append(
                FeatureBatch(
                    keys=[f"{shard}-{row}" for row in range(rows)],
                    image=unit(rng, rows, dim),
                    text=unit(rng, rows, dim),
                    tokens=TokenLists.of(tokens),
                    views=unit(rng, rows, views, dim) if views else None,
                )
            )
        paths.append(path)
    write_index(folder, paths)
    return folder

"""A small project that is ready for scoring: random features, duplicates, a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from clipn.data import manifest
from clipn.data.manifest import Entry
from clipn.evaluation import duplicates
from clipn.features.rows import FeatureBatch
from clipn.features.shards import describe
from clipn.features.store import write_index
from clipn.features.writer import write_shard
from clipn.models import backbone, no_encoder
from clipn.models.no_encoder import NoEncoderConfig, NoTextEncoder
from clipn.project import profiles
from clipn.project.params import parse_params
from clipn.training.pretrain import preprocess_cfg
from tests.conftest import ROOT, TINY


@pytest.fixture
def scored_project(tiny_clip: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with random features of three sets and of ID images, two duplicates, and the model of seed 0."""
    monkeypatch.chdir(ROOT)
    values = profiles.compose(
        "smoke",
        [
            "benchmarks.pictographs.ood=[greek,digits]",
            "study.benchmarks=[pictographs]",
            "evaluate.imported=[same,handcrafted]",
        ],
    )
    params = parse_params(values)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.chdir(tmp_path)
    backbone.save(tiny_clip, TINY, preprocess_cfg(TINY), "data/backbone")
    clip = backbone.load("data/backbone")
    rng = np.random.default_rng(0)
    meta = describe(clip, params.features, "evaluation", ("sun", "cloud"))
    for name in ("pictographs", "greek", "digits", "pictographs_fit"):
        folder = Path("data/features/sets") / name
        folder.mkdir(parents=True)
        image = rng.normal(size=(6, meta.dim))
        image /= np.linalg.norm(image, axis=1, keepdims=True)
        pooled = rng.normal(size=(6, meta.pooled))
        keys = [str(i) for i in range(6)]
        with write_shard(folder / "00000.parquet", meta) as shard:
            shard.append(FeatureBatch(keys, image, label=np.arange(6, dtype=np.int32) % 2, pooled=pooled))
        write_index(folder, [folder / "00000.parquet"])
        entries = [Entry(key, key, shard="images.tar", sha256=f"{name}{key}") for key in keys]
        manifest.write(Path("data/sets") / name / "manifest.parquet", entries)
    pairs = [("greek", "4", "id", "0", 1.0, True), ("digits", "2", "training", "5", 0.99, False)]
    rows = [dict(zip(duplicates.SCHEMA.names, row, strict=True)) for row in pairs]
    Path("data/overlap/pictographs").mkdir(parents=True)
    table = pa.Table.from_pylist(rows, schema=duplicates.SCHEMA)
    pq.write_table(table, "data/overlap/pictographs/duplicates.parquet")
    encoder = NoTextEncoder(clip.model, n_prompts=2)
    assert encoder.prompts is not None
    torch.nn.init.normal_(encoder.prompts)
    learnable = NoEncoderConfig("learnable", 2, None, False, clip.fingerprint, seed=None)
    no_encoder.save(encoder, learnable, "models/clipn/seed-0")
    return tmp_path

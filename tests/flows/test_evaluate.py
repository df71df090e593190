"""One benchmark with models that were trained here and elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from clipn import backbone, features, no_encoder, profiles
from clipn.feature_rows import FeatureBatch
from clipn.feature_writer import write_shard
from clipn.no_encoder import NoEncoderConfig, NoTextEncoder
from clipn.pretrain import preprocess_cfg
from clipn.store import write_index
from flows import evaluate, evaluate_imported
from tests.conftest import TINY

ROOT = Path(__file__).parent.parent.parent
CLASSES = ("sun", "cloud")


@pytest.fixture
def project(tiny_clip: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with random features, the model of seed 0 and two imported ones, the first with the same weights."""
    monkeypatch.chdir(ROOT)
    values = profiles.compose(
        "smoke", ["benchmarks.pictographs.ood=[greek,digits]", "evaluate.imported=[same,handcrafted]"]
    )
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.chdir(tmp_path)
    backbone.save(tiny_clip, TINY, preprocess_cfg(TINY), "data/backbone")
    clip = backbone.load("data/backbone")
    rng = np.random.default_rng(0)
    for name in ("pictographs", "greek", "digits"):
        folder = Path("data/features/sets") / name
        folder.mkdir(parents=True)
        image = rng.normal(size=(6, 16))
        image /= np.linalg.norm(image, axis=1, keepdims=True)
        with write_shard(folder / "00000.parquet", features.describe(clip, "evaluation", CLASSES)) as shard:
            shard.append(FeatureBatch([str(i) for i in range(6)], image, label=np.arange(6, dtype=np.int32) % 2))
        write_index(folder, [folder / "00000.parquet"])
    encoder = NoTextEncoder(clip.model, n_prompts=2)
    assert encoder.prompts is not None
    torch.nn.init.normal_(encoder.prompts)
    learnable = NoEncoderConfig("learnable", 2, None, False, clip.fingerprint, seed=None)
    no_encoder.save(encoder, learnable, "models/clipn/seed-0")
    no_encoder.save(encoder, learnable, "models/imported/same")
    paired = NoEncoderConfig("handcrafted", 0, "photo", False, clip.fingerprint, seed=None)
    no_encoder.save(NoTextEncoder(clip.model, n_prompts=0), paired, "models/imported/handcrafted")
    return tmp_path


def metrics(project: Path, model: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((project / f"reports/metrics/pictographs/{model}.json").read_text())
    return values


def test_an_imported_model_is_measured_like_a_trained_one(project: Path) -> None:
    evaluate.run("pictographs", 0)
    evaluate_imported.run("pictographs", "same")
    trained, imported = metrics(project, "seed-0"), metrics(project, "imported-same")
    assert trained["seed"] == 0
    assert imported["imported"] == "same"
    assert set(imported["methods"]) == {"CLIPN-CTW", "CLIPN-ATD"}
    assert all(imported["methods"][name] == trained["methods"][name] for name in imported["methods"])
    scores = [pq.read_table(f"data/scores/pictographs/{model}.parquet") for model in ("seed-0", "imported-same")]
    assert scores[0]["CLIPN-ATD"] == scores[1]["CLIPN-ATD"]
    assert (project / "reports/stages/evaluate_imported-pictographs-same.json").is_file()


def test_the_handcrafted_variant_brings_its_own_templates(project: Path) -> None:
    evaluate_imported.run("pictographs", "handcrafted")
    assert metrics(project, "imported-handcrafted")["templates"] == "photo"


def test_a_model_that_is_not_there(project: Path) -> None:
    state = evaluate_imported.run("pictographs", "gone", return_state=True)
    assert state.is_failed()
    assert "models/imported/gone does not exist; take the model over with 'clipn import-checkpoint" in str(
        state.message
    )

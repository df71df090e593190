"""One benchmark with models that were trained here and elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from clipn.models import backbone, no_encoder
from clipn.models.no_encoder import NoEncoderConfig, NoTextEncoder
from flows.stages import evaluate, evaluate_imported


@pytest.fixture
def project(scored_project: Path) -> Path:
    """With two imported models, the first a copy of seed 0's."""
    clip = backbone.load("data/backbone")
    shutil.copytree("models/clipn/seed-0", "models/imported/same")
    paired = NoEncoderConfig("handcrafted", 0, "photo", False, clip.fingerprint, seed=None)
    no_encoder.save(NoTextEncoder(clip.model, n_prompts=0), paired, "models/imported/handcrafted")
    return scored_project


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


@pytest.mark.parametrize(
    ("leave_out", "expected"),
    [
        ("none", {"greek": 0, "digits": 0}),
        ("id", {"greek": 1, "digits": 0}),
        ("id-and-training", {"greek": 1, "digits": 1}),
    ],
)
def test_duplicates_are_left_out_if_that_is_asked_for(project: Path, leave_out: str, expected: dict[str, int]) -> None:
    values = yaml.safe_load((project / "params.yaml").read_text())
    values["overlap"]["leave_out"] = leave_out
    (project / "params.yaml").write_text(yaml.safe_dump(values))
    evaluate.run("pictographs", 0)
    result = metrics(project, "seed-0")
    assert (result["leave_out"], result["left_out"]) == (leave_out, expected)
    assert result["images"] == {"pictographs": 6, **{name: 6 - count for name, count in expected.items()}}
    counts = json.loads((project / "reports/stages/evaluate-pictographs-0.json").read_text())["counts"]
    assert counts["dropped"] == ({"duplicate": sum(expected.values())} if leave_out != "none" else {})


def test_a_model_that_is_not_there(project: Path) -> None:
    state = evaluate_imported.run("pictographs", "gone", return_state=True)
    assert state.is_failed()
    assert "models/imported/gone does not exist; take the model over with 'clipn import-checkpoint" in str(
        state.message
    )

"""A look at any trained model, beside what DVC knows."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from prefect.client.orchestration import get_client

from flows.deployments.evaluate_model import evaluate_model
from flows.stages import evaluate


def test_it_measures_what_the_stage_measures_and_touches_none_of_its_files(scored_project: Path) -> None:
    evaluate.run("pictographs", 0)
    stage = scored_project / "reports/metrics/pictographs/seed-0.json"
    before = stage.read_text()
    (scored_project / "models/clipn/seed-0").rename(scored_project / "models/My Model")
    state = evaluate_model("models/My Model", ["pictographs"], return_state=True)
    assert state.message == "pictographs: see the artifacts, or data/evaluated/models-my-model"
    folder = scored_project / "data/evaluated/models-my-model"
    metrics = json.loads((folder / "pictographs.json").read_text())
    assert metrics.pop("model") == "models/My Model"
    expected = json.loads(before)
    expected.pop("seed")
    assert metrics == expected
    scores = pq.read_table(folder / "pictographs.parquet")
    assert scores.equals(pq.read_table(scored_project / "data/scores/pictographs/seed-0.parquet"))
    assert stage.read_text() == before
    with get_client(sync_client=True) as client:
        tables = [a for a in client.read_artifacts() if a.key == "model-models-my-model-pictographs"]
    assert "CLIPN-ATD" in str(tables[0].data)


def test_without_a_choice_it_takes_the_benchmarks_that_the_pipeline_evaluates(scored_project: Path) -> None:
    values = yaml.safe_load(Path("params.yaml").read_text())
    values["evaluate"]["benchmarks"] = ["pictographs"]
    values["benchmarks"]["pictographs"]["validation"] = None
    Path("params.yaml").write_text(yaml.safe_dump(values))
    evaluate_model("models/clipn/seed-0", [])
    assert [file.name for file in (scored_project / "data/evaluated/models-clipn-seed-0").glob("*.json")] == [
        "pictographs.json"
    ]


@pytest.mark.parametrize(
    ("model", "benchmark", "message"),
    [
        ("models/clipn/seed-7", "pictographs", "models/clipn/seed-7/config.json does not exist"),
        ("models/clipn/seed-0", "birds", "benchmarks has no 'birds'; known: "),
    ],
)
def test_what_is_not_there_is_named_before_any_work(
    scored_project: Path, model: str, benchmark: str, message: str
) -> None:
    state = evaluate_model(model, ["pictographs", benchmark], return_state=True)
    assert state.is_failed()
    assert message in str(state.message)
    assert not (scored_project / "data/evaluated").exists()

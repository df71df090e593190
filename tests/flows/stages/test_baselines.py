"""One benchmark without any training."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from clipn import scores
from clipn.data import manifest
from clipn.data.manifest import Entry
from flows.stages import baselines


def test_methods_without_a_no_encoder_are_measured_once(scored_project: Path) -> None:
    baselines.run("pictographs")
    metrics = json.loads((scored_project / "reports/metrics/pictographs/baselines.json").read_text())
    assert not any(scores.is_trained(name) for name in metrics["methods"])
    assert {"MCM", "1-NN", "Probe-MSP", "Mahalanobis"} <= metrics["methods"].keys()
    assert not {"seed", "imported"} & metrics.keys()
    # No word list was made here, and patch features were not asked for.
    assert metrics["skipped"]["NegLabel"] == "needs a word list (words.path)"
    assert metrics["skipped"]["GL-MCM"].startswith("needs patch features")
    table = pq.read_table(scored_project / "data/scores/pictographs/baselines.parquet")
    assert set(table.column_names) == {"set", "key", "label", "predicted", *metrics["methods"]}
    report = json.loads((scored_project / "reports/stages/baselines-pictographs.json").read_text())
    assert report["skipped"] == metrics["skipped"]


def test_without_id_images_only_names_are_left(scored_project: Path) -> None:
    values = yaml.safe_load(Path("params.yaml").read_text())
    values["benchmarks"]["pictographs"]["fit"] = None
    Path("params.yaml").write_text(yaml.safe_dump(values))
    baselines.run("pictographs")
    metrics = json.loads((scored_project / "reports/metrics/pictographs/baselines.json").read_text())
    assert set(metrics["methods"]) == {"MSP", "MCM", "MaxLogit", "Energy"}
    assert metrics["skipped"]["1-NN"] == "needs ID images that are in no test set (fit of the benchmark)"


def test_id_images_that_are_tested_too_are_refused(scored_project: Path) -> None:
    path = Path("data/sets/pictographs_fit/manifest.parquet")
    entries = manifest.read(path)
    manifest.write(path, [*entries[1:], Entry("0", "0", shard="images.tar", sha256="pictographs3")])
    with pytest.raises(Exception, match="'pictographs_fit' and 'pictographs' share 1 images") as error:
        baselines.run("pictographs")
    assert "as with part" in str(error.value)

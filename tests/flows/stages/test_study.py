"""The feature study's three stages on a small tower of its own."""

from __future__ import annotations

import io
import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from clipn import FeatureStore
from clipn.data import manifest, tars
from clipn.data.manifest import Entry
from clipn.models import backbone
from clipn.utils.files import write_json
from flows.stages import study, study_backbone, study_features

SETS = ("pictographs", "greek", "digits", "pictographs_fit")


@pytest.fixture
def images(scored_project: Path) -> Path:
    """The sets' images, which the towers of the study look at anew."""
    rng = np.random.default_rng(0)
    for name in SETS:
        samples, entries = [], []
        for i in range(6):
            buffer = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(buffer, "PNG")
            data = buffer.getvalue()
            samples.append((f"{i}", {"png": data}))
            entries.append(
                Entry(
                    f"{i}",
                    f"{i}.png",
                    shard="images.tar",
                    label=i % 2,
                    sha256=sha256(data).hexdigest(),
                    bytes=len(data),
                )
            )
        folder = Path("data/sets") / name
        tars.write(folder / "images.tar", samples)
        manifest.write(folder / "manifest.parquet", entries)
        write_json(folder / "classes.json", ["sun", "cloud"])
    values = yaml.safe_load(Path("params.yaml").read_text())
    values["study"]["backbones"] = {
        "own": {"source": "local", "path": "data/backbone"},
        "bare": {"source": "timm", "path": "clipn/models/weights.yaml", "name": "resnet10t", "image_size": 32},
    }
    Path("params.yaml").write_text(yaml.safe_dump(values))
    return scored_project


def stages(name: str) -> dict:
    study_backbone.run(name)
    study_features.run(name)
    study.run(name)
    return json.loads(Path(f"reports/study/{name}.json").read_text())


def test_a_tower_with_texts(images: Path) -> None:
    result = stages("own")
    own = backbone.load("data/backbone")
    store = FeatureStore.open("data/study/own/features/greek", own.fingerprint)
    assert (result["backbone"], result["dim"], result["pooled"]) == ("own", store.meta.dim, store.meta.pooled)
    measured = result["benchmarks"]["pictographs"]
    assert set(measured["methods"]) == {"MCM", "1-NN", "k-NN", "Probe-MSP", "Mahalanobis", "rMahalanobis", "PLP"}
    assert measured["skipped"] == {}
    assert 0 <= measured["methods"]["Probe-MSP"]["id_accuracy"] <= 1


def test_a_bare_tower_knows_no_names(images: Path) -> None:
    result = stages("bare")
    assert result["origin"] == "timm, resnet10t"
    measured = result["benchmarks"]["pictographs"]
    assert set(measured["methods"]) == {"1-NN", "k-NN", "Probe-MSP", "Mahalanobis", "rMahalanobis"}
    assert measured["skipped"] == dict.fromkeys(("MCM", "PLP"), "needs class names and a text tower")
    assert (measured["id_accuracy"], measured["calibration"]) == (None, None)


def test_an_unknown_tower(images: Path) -> None:
    state = study_backbone.run("gone", return_state=True)
    assert "study.backbones has no 'gone'; known: bare, own" in str(state.message)

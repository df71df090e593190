"""The stage that moves OOD images, on a project of a few pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from clipn.data import tars
from flows.stages import attack
from tests.small_sets import illustrate


@pytest.fixture
def project(scored_project: Path) -> Path:
    illustrate(scored_project)
    change(scored_project, "attack", methods=["MCM", "NegLabel", "CLIPN-CTW", "1-NN"], steps=4, batch_size=4, lr=0.01)
    return scored_project


def change(project: Path, section: str, **values: Any) -> None:
    params = yaml.safe_load((project / "params.yaml").read_text())
    params[section].update(values)
    (project / "params.yaml").write_text(yaml.safe_dump(params))


def test_report_and_pictures(project: Path) -> None:
    attack.run("pictographs")
    report = json.loads((project / "reports/attack/pictographs.json").read_text())
    kinds = report.pop("kinds")
    assert report == {
        "benchmark": "pictographs",
        "id": "pictographs",
        "ood": ["greek", "digits"],
        "images": 8,
        "steps": 4,
        "seeds": [0, 1],
    }
    assert {kind: result["weight"] for kind, result in kinds.items()} == {"smooth": 100.0, "patchy": 0.0}
    for kind, result in kinds.items():
        assert set(result) == {"weight", "cosine_before", "cosine_after", "change", "difference_times", "methods"}
        assert {name: len(numbers["after"]) for name, numbers in result["methods"].items()} == {
            "MCM": 1,
            "CLIPN-CTW": 2,
            "1-NN": 1,
        }
        assert "after_without_targets" in result["methods"]["1-NN"]
        samples = dict(tars.read(project / f"data/attack/pictographs/{kind}.tar"))
        assert [key.split("/")[0] for key in samples] == ["greek"] * 4 + ["digits"] * 4
        assert Image.open(project / f"data/attack/pictographs/{kind}.png").size[0] == 8 * 100 - 4
    assert kinds["patchy"]["cosine_after"] > kinds["patchy"]["cosine_before"]
    stage = json.loads((project / "reports/stages/attack-pictographs.json").read_text())
    assert stage["counts"] == {"images": 8, "kinds": 2, "methods": 3}
    assert list(stage["skipped"]) == ["NegLabel"]


def test_duplicates_are_not_moved_if_they_do_not_count(project: Path) -> None:
    change(project, "overlap", leave_out="id-and-training")
    change(project, "attack", images=100, steps=1)
    attack.run("pictographs")
    keys = [key for key, _ in tars.read(project / "data/attack/pictographs/patchy.tar")]
    assert len(keys) == 10
    assert not {"greek/4", "digits/2"} & set(keys)


def test_a_model_that_is_not_there(project: Path) -> None:
    (project / "models/clipn/seed-1").rename(project / "models/away")
    state = attack.run("pictographs", return_state=True)
    assert state.is_failed()
    assert "models/clipn/seed-1" in str(state.message)
    assert not (project / "data/attack").exists()

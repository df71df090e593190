"""The stage that corrupts images and renames classes, on a project of a few pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from clipn.prompts import wordnet
from flows.stages import robustness
from tests.small_sets import illustrate

METHODS = {"MCM": 1, "CLIPN-CTW": 2, "1-NN": 1}


@pytest.fixture
def project(scored_project: Path) -> Path:
    illustrate(scored_project)
    change(scored_project, "robustness", methods=[*METHODS, "NegLabel"], images=4, templates=["simple"])
    return scored_project


def change(project: Path, section: str, **values: Any) -> None:
    params = yaml.safe_load((project / "params.yaml").read_text())
    params[section].update(values)
    (project / "params.yaml").write_text(yaml.safe_dump(params))


def report(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project / "reports/robustness/pictographs.json").read_text())
    return found


class Lexicon:
    """One synonym, of one class."""

    def synonyms(self, name: str) -> tuple[str, ...]:
        return ("star",) if name == "sun" else ()


def test_report(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordnet, "load", Lexicon)
    robustness.run("pictographs")
    found = report(project)
    assert {key: found[key] for key in ("benchmark", "id", "ood", "seeds", "images")} == {
        "benchmark": "pictographs",
        "id": "pictographs",
        "ood": ["greek", "digits"],
        "seeds": [0, 1],
        "images": {"pictographs": 4, "greek": 4, "digits": 4},
    }
    assert [(e["name"], e["level"], e["where"]) for e in found["corruptions"]] == [
        (name, level, where)
        for name, level in (("noise", 60.0), ("blur", 1.0), ("jpeg", 20))
        for where in ("id", "ood", "both")
    ]
    assert [(e["change"], e["classes_changed"]) for e in found["names"]] == [("templates simple", 2), ("synonyms", 1)]
    for entry in (found["clean"], *found["corruptions"], *found["names"]):
        assert 0 <= entry["id_accuracy"] <= 1
        assert {name: len(numbers["auroc"]) for name, numbers in entry["methods"].items()} == METHODS
    stage = json.loads((project / "reports/stages/robustness-pictographs.json").read_text())
    assert stage["counts"] == {"images": 12, "corruptions": 3, "methods": 3}
    assert list(stage["skipped"]) == ["NegLabel"]


def test_nothing_but_the_clean_images(project: Path) -> None:
    change(project, "robustness", noise=[], blur=[], jpeg=[], templates=[], synonyms=False)
    change(project, "overlap", leave_out="id")
    change(project, "robustness", images=100)
    robustness.run("pictographs")
    found = report(project)
    assert found["corruptions"] == found["names"] == []
    assert found["images"] == {"pictographs": 6, "greek": 5, "digits": 6}

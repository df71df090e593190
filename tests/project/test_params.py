"""Wrong parameters are refused with every problem named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from clipn import config
from clipn.errors import InvalidParams, MissingInput
from clipn.project import profiles
from clipn.project.params import parse_params, read_params
from tests.conftest import ROOT


@pytest.fixture
def values(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(ROOT)
    return profiles.compose("miniature")


def test_the_default_profile_is_valid(values: dict[str, Any]) -> None:
    params = parse_params(values)
    assert params.train.seeds == (0, 1, 2)
    assert params.benchmarks["pictographs"].id == "pictographs"


def test_all_problems_are_reported_at_once(values: dict[str, Any]) -> None:
    values["train"]["learning_rate"] = 1e-3
    values["train"]["epochs"] = 0
    del values["download"]["retries"]
    with pytest.raises(InvalidParams) as error:
        parse_params(values, "my.yaml")
    message = str(error.value)
    assert message.startswith("my.yaml has 3 problem(s)")
    assert "train.learning_rate: unknown parameter" in message
    assert "train.epochs: Input should be greater than or equal to 1 (it is 0)" in message
    assert "download.retries: is missing" in message


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("evaluate", "methods"), ["MSP", "Magic"], "unknown method 'Magic'; known: MSP, MCM"),
        (("evaluate", "imported"), ["a b"], "evaluate.imported.0"),
        (("evaluate", "imported"), ["a", "b", "a"], "names a model twice"),
        (("evaluate", "templates"), "poems", "unknown set 'poems'; known: symbols"),
        (("evaluate", "benchmarks"), ["other"], "unknown benchmark 'other'; known: pictographs"),
        (("evaluate", "fpr_convention"), "usual", "evaluate.fpr_convention"),
        (("train", "seeds"), [0, -1], "train.seeds.1: Input should be greater than or equal to 0"),
        (("attack", "seed"), -1, "attack.seed"),
        (("overlap", "threshold"), 1.5, "overlap.threshold"),
        (("overlap", "leave_out"), "all", "overlap.leave_out"),
        (
            ("benchmarks", "pictographs", "ood"),
            ["nowhere"],
            "benchmarks.pictographs: unknown set 'nowhere'; known",
        ),
        (("benchmarks", "pictographs", "ood"), ["pictographs"], "cannot be both ID and OOD"),
        (("backbone", "path"), "clipn/x.py", "backbone.path: has to be 'data/download/manifest.parquet' for source"),
        (("study", "backbones", "untrained", "path"), "x", "has to be 'clipn/models/weights.yaml' for source 'timm'"),
        (("captions", "images"), "photos", "captions.images: is for source 'table'; for 'symbols' it is captions.path"),
        (("sets", "digits", "names_file"), "n.txt", "sets.digits.names_file: has to be 'clipn/data/sets/imagenet_cl"),
        (
            ("sets", "pictographs", "labelled"),
            False,
            "'pictographs' stands for the ID classes and needs",
        ),
        (("sets", "pictographs", "block"), None, "needs block and images_per_class"),
        (("backbone", "source"), "open_clip", "needs name and pretrained"),
        (("backbone", "pretrain"), None, "backbone.pretrain: is needed"),
        (("sets", "bad name"), {"reader": "folder", "path": "x"}, "sets.bad name"),
    ],
)
def test_contradictions_are_named(values: dict[str, Any], path: tuple[str, ...], value: Any, message: str) -> None:
    section = values
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    with pytest.raises(InvalidParams) as error:
        parse_params(values)
    assert message in str(error.value)


def test_imported_models_need_a_method_for_them(values: dict[str, Any]) -> None:
    values["evaluate"].update(imported=["released"], methods=["MSP"])
    with pytest.raises(InvalidParams, match=r'in evaluate\.methods uses the "No" text encoder; add one of CLIPN'):
        parse_params(values)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match="clipn profile NAME"):
        read_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(("text", "message"), [("a: [", "not valid YAML"), ("- 1", "mapping of sections, not list")])
def test_a_file_that_is_no_mapping(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(InvalidParams, match=message):
        read_params(path)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidParams, match=r"params\.yaml is not valid YAML"):
        read_params(path)


def test_dvc_tracks_every_training_parameter_but_the_seeds() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    fields = {f"train.{name}" for name in config.TrainParams.__dataclass_fields__} - {"train.seeds"}
    assert set(stages["train"]["do"]["params"]) == fields
    lists = {"evaluate.benchmarks", "evaluate.imported"}
    evaluated = {f"evaluate.{name}" for name in config.EvaluateParams.__dataclass_fields__} - lists
    for stage in ("evaluate", "evaluate_imported"):
        assert set(stages[stage]["params"]) == evaluated | {"benchmarks.${item.benchmark}", "overlap.leave_out"}
    found = {f"overlap.{name}" for name in config.OverlapParams.__dataclass_fields__} - {"overlap.leave_out"}
    assert set(stages["overlap"]["do"]["params"]) == found | {"benchmarks.${item}", "features.max_pixels"}

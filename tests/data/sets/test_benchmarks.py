"""Published benchmarks agree with their Hydra files, and a profile can do without what is not here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from clipn.data.sets import archives, benchmarks
from clipn.data.sets.registry import registered
from clipn.errors import InvalidParams
from clipn.project import profiles
from clipn.project.params import parse_params
from tests.conftest import ROOT

NAMES = list(benchmarks.benchmarks())


@pytest.mark.parametrize("name", NAMES)
def test_what_a_profile_gets_is_valid_yaml_with_the_sets_of_the_benchmark(name: str) -> None:
    values = yaml.safe_load(benchmarks.configuration(name))
    entry = benchmarks.benchmark(name)
    assert set(values["sets"]) == set(entry.sets)
    assert values["benchmarks"][name]["ood"] == list(entry.ood)
    assert all((ROOT / options["path"]).is_file() for options in values["sets"].values())


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_has_registered_sets_and_an_id_set_with_classes(name: str) -> None:
    entry = benchmarks.benchmark(name)
    assert registered(entry.id).classes > 1
    assert entry.source
    assert len(set(entry.sets)) == len(entry.ood) + 1 + (entry.fit is not None)
    assert entry.fit is None or registered(entry.fit).classes == registered(entry.id).classes
    contaminated = [other for other in entry.ood if registered(other).id_content]
    assert entry.id != "imagenet" or not contaminated or "26 %" in entry.notes


def test_the_published_pairs() -> None:
    found = {name: benchmarks.benchmark(name) for name in NAMES}
    assert found["imagenet"].ood == ("inaturalist", "sun", "textures", "places")
    assert found["cifar10"].ood == ("cifar100", "lsun_resize", "imagenet_resize")
    assert found["cifar100"].ood == ("cifar10", "lsun_resize", "imagenet_resize")
    assert found["imagenet_clean"].ood == ("ninco", "openimage_o", "imagenet_o")


def test_an_unknown_benchmark_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InvalidParams, match="no benchmark 'mnist'; known: imagenet, imagenet_clean"):
        benchmarks.benchmark("mnist")


@pytest.mark.parametrize("name", NAMES)
def test_each_can_be_taken_into_a_profile(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    alone = ["attack.benchmarks=[]", "robustness.benchmarks=[]"]
    values = profiles.compose("smoke", [f"+benchmark={name}", f"evaluate.benchmarks=[{name}]", *alone])
    params = parse_params(values)
    assert params.benchmarks[name].id == benchmarks.benchmark(name).id
    assert {"pictographs", *benchmarks.benchmark(name).sets} <= params.sets.keys()


def values(**changes: Any) -> dict[str, Any]:
    return {
        "sets": {
            "id": {"registered": "imagenet"},
            "near": {"registered": "ninco"},
            "far": {"registered": "sun"},
            "own": {"registered": None},
            "small": {"registered": "digits"},
        },
        "benchmarks": {
            "big": {"id": "id", "ood": ["near", "far"]},
            "little": {"id": "small", "ood": ["own", "far"]},
        },
        "evaluate": {"benchmarks": ["big", "little"]},
        "train": {"check": {"id": "small"}},
    } | changes


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    found = {"imagenet": "checked", "ninco": "here", "sun": "fetchable", "digits": "checked"}
    monkeypatch.setattr(archives, "state", lambda name, cache: found[name])
    return found


def test_nothing_is_left_out_if_all_is_there(states: dict[str, str]) -> None:
    assert benchmarks.leave_out(values(), "obtainable") == ([], {})
    states["sun"] = "missing"
    assert benchmarks.leave_out(values(), "all") == ([], {})


def test_ood_sets_that_were_not_fetched_are_left_out(states: dict[str, str]) -> None:
    overrides, gone = benchmarks.leave_out(values(), "present")
    assert overrides == ["~sets.far", "benchmarks.big.ood=[near]", "benchmarks.little.ood=[own]"]
    assert gone == {"far": "run 'clipn sets fetch sun'"}


def test_a_benchmark_goes_with_its_id_set_and_takes_along_what_nothing_else_uses(states: dict[str, str]) -> None:
    states["imagenet"] = "missing"
    overrides, gone = benchmarks.leave_out(values(), "obtainable")
    assert overrides == ["~sets.id", "~sets.near", "~benchmarks.big", "evaluate.benchmarks=[little]"]
    assert gone["id"] == "set CLIPN_IMAGENET to the folder of ImageNet-1K, validation images"
    assert gone["near"] == "only used in big"
    assert gone["benchmark big"] == gone["id"]


def test_what_only_feeds_or_chooses_is_left_out_alone(states: dict[str, str]) -> None:
    """ID images that are missing cost scores, not the benchmark; sections forget benchmarks that are gone."""
    states.update(imagenet="missing", ninco="fetchable")
    changed = values(
        benchmarks={
            "big": {"id": "id", "ood": ["far"]},
            "little": {"id": "small", "ood": ["own"], "fit": "near", "validation": "big"},
        },
        study={"benchmarks": ["big", "little"]},
    )
    overrides, gone = benchmarks.leave_out(changed, "present")
    assert {"benchmarks.little.fit=null", "benchmarks.little.validation=null"} <= set(overrides)
    assert {"~sets.near", "~benchmarks.big", "study.benchmarks=[little]"} <= set(overrides)
    assert "benchmark little" not in gone


def test_what_another_section_mentions_stays(states: dict[str, str]) -> None:
    states["imagenet"] = "missing"
    overrides, _ = benchmarks.leave_out(values(train={"check": {"id": "small", "ood": "near"}}), "obtainable")
    assert "~sets.near" not in overrides


def test_a_benchmark_without_ood_sets_goes(states: dict[str, str]) -> None:
    states["ninco"] = "fetchable"
    overrides, gone = benchmarks.leave_out(values(), "present")
    assert "~benchmarks.big" in overrides
    assert "benchmarks.little.ood=[own]" in overrides
    assert gone["benchmark big"] == "run 'clipn sets fetch ninco'"


def test_if_nothing_is_left_the_way_out_is_named(states: dict[str, str]) -> None:
    states.update(imagenet="missing", digits="missing")
    with pytest.raises(
        InvalidParams, match=r"no benchmark is left: big needs you to set CLIPN_IMAGENET .*; little needs"
    ):
        benchmarks.leave_out(values(), "obtainable")


def test_the_overrides_say_in_the_file_what_was_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They do not depend on the machine any more, so the file can be written again anywhere."""
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("CLIPN_IMAGENET", raising=False)
    overrides, gone = benchmarks.leave_out(profiles.compose("cc3m"), "obtainable")
    assert set(gone) >= {"imagenet", "inaturalist", "benchmark imagenet", "benchmark imagenet_clean"}
    profiles.write("cc3m", tmp_path / "params.yaml", overrides)
    text = (tmp_path / "params.yaml").read_text()
    written = yaml.safe_load(text)
    assert list(written["benchmarks"]) == ["cifar10", "cifar100"]
    tested = {"cifar10", "cifar100", "lsun_resize", "imagenet_resize"}
    assert set(written["sets"]) == tested | {"cifar10_train", "cifar100_train"}
    monkeypatch.setenv("CLIPN_IMAGENET", str(tmp_path))
    assert profiles.compose("cc3m", text.splitlines()[0].partition("clipn profile cc3m ")[2].split()) == written

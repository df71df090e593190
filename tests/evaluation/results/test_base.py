"""Results of every kind as files: the same bytes both ways, exact types, finite numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from clipn.config import BenchmarkParams
from clipn.errors import InvalidData, MissingInput, NonFinite
from clipn.evaluation.results.attack import AttackResult
from clipn.evaluation.results.base import OfBenchmark, Result, refuse_non_finite
from clipn.evaluation.results.benchmark import BenchmarkMetrics
from clipn.evaluation.results.overlap import OverlapResult
from clipn.evaluation.results.robustness import RobustnessResult
from clipn.evaluation.results.study import StudyResult
from clipn.utils.files import write_json
from tests.report import made_up

SMALL = BenchmarkParams(id="cats", ood=("dogs", "cars"))
METHODS = {"CLIPN-CTW": made_up.measured(True, {"dogs": (0.5, 0.5), "cars": (0.75, 0.25)})}
METRICS = {**made_up.run(SMALL.ood, "small", METHODS), "seed": 1}
OVERLAP: dict[str, Any] = {
    "benchmark": "small",
    "id": "cats",
    "ood": ["dogs", "cars"],
    "threshold": 0.95,
    "sets": {
        "cats": {"images": 4},
        "dogs": {"images": 6, "id": {"exact": 1, "near": 0}, "training": {"exact": 0, "near": 0}},
        "cars": {"images": 2, "id": {"exact": 0, "near": 0}},
    },
}
EVERY: dict[str, tuple[type[Result], dict[str, Any]]] = {
    "metrics": (BenchmarkMetrics, METRICS),
    "attack": (AttackResult, made_up.attack()),
    "overlap": (OverlapResult, OVERLAP),
    "robustness": (RobustnessResult, made_up.robustness()),
    "study": (StudyResult, made_up.study("red")),
}
every = pytest.mark.parametrize("kind", EVERY)


@every
def test_what_is_read_is_written_again_with_the_same_bytes(kind: str, tmp_path: Path) -> None:
    form, values = EVERY[kind]
    path = tmp_path / "small.json"
    write_json(path, values)
    result = form.read(path)
    result.write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()
    assert form(**values) == result  # the constructor takes what lies in a file


@every
def test_a_missing_field_is_named_with_file_and_way_out(kind: str, tmp_path: Path) -> None:
    form, values = EVERY[kind]
    field = next(iter(values))
    path = tmp_path / "small.json"
    write_json(path, {key: value for key, value in values.items() if key != field})
    with pytest.raises(InvalidData, match=rf"small\.json is no file of .*{field}: .*; run 'dvc repro'"):
        form.read(path)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("metrics", lambda v: v.update(seed="1"), "seed: Input should be a valid integer"),
        ("metrics", lambda v: v.update(logit_scale="100"), "logit_scale: Input should be a valid number"),
        ("attack", lambda v: v.update(steps=2.0), "steps: "),
        ("attack", lambda v: v["kinds"].update(wavy=v["kinds"]["smooth"]), "kinds.wavy"),
        ("overlap", lambda v: v.update(threshold=0), "threshold: Input should be greater than 0"),
        ("robustness", lambda v: v["corruptions"][0].update(where="none"), "corruptions.0.where: "),
    ],
)
def test_files_hold_the_exact_types(
    kind: str, change: Callable[[dict[str, Any]], Any], message: str, tmp_path: Path
) -> None:
    form, values = EVERY[kind]
    values = json.loads(json.dumps(values))
    change(values)
    write_json(tmp_path / "small.json", values)
    with pytest.raises(InvalidData, match=message):
        form.read(tmp_path / "small.json")


def test_files_that_are_not_there_or_no_json(tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    with pytest.raises(MissingInput, match=r"small\.json does not exist"):
        AttackResult.read(path)
    path.write_text("{")
    with pytest.raises(InvalidData, match=r"small\.json is not valid JSON"):
        AttackResult.read(path)
    path.write_text("[1]")
    with pytest.raises(InvalidData, match=r"small\.json is no file of the stage 'attack'"):
        AttackResult.read(path)


def test_a_number_that_is_not_finite_is_named(tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    path.write_text(json.dumps(OVERLAP).replace("0.95", "NaN"))
    with pytest.raises(NonFinite, match=r"small\.json: threshold is nan"):
        OverlapResult.read(path)
    with pytest.raises(NonFinite, match=r"there: a\.1\.b is inf"):
        refuse_non_finite({"a": [0.0, {"b": float("inf")}]}, Path("there"))


def test_results_are_checked_when_they_are_made_and_do_not_change() -> None:
    with pytest.raises(ValidationError, match="threshold"):
        OverlapResult(**{**OVERLAP, "threshold": 2.0})
    result = OverlapResult(**OVERLAP)
    with pytest.raises(FrozenInstanceError):
        result.threshold = 0.5  # type: ignore[misc]


@pytest.mark.parametrize("kind", [kind for kind in EVERY if kind != "study"])
def test_results_on_other_sets_are_refused(kind: str, tmp_path: Path) -> None:
    form, values = EVERY[kind]
    assert issubclass(form, OfBenchmark)
    path = tmp_path / "small.json"
    write_json(path, values)
    assert form.read_of(path, "small", SMALL).ood == SMALL.ood
    with pytest.raises(InvalidData, match=r"small\.json is of .*, so it is of other sets than benchmark 'large'"):
        form.read_of(path, "large", SMALL)
    with pytest.raises(InvalidData, match=r"not \('small', 'cats', \('dogs',\)\)"):
        form.read_of(path, "small", BenchmarkParams(id="cats", ood=("dogs",)))


def test_results_are_read_without_the_heavy_libraries() -> None:
    heavy = {"torch", "scipy", "sklearn", "pandas", "matplotlib"}
    code = "import sys, clipn.evaluation.results.study; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & set(done.stdout.split())

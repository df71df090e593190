"""DVC knows what makes the bytes: the code that a stage reaches, and the parameters that it reads."""

from __future__ import annotations

import ast
import inspect
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from clipn import scores
from clipn.project import profiles
from flows.stages import STAGES
from tests.conftest import ROOT
from tests.imports import reached
from tests.parameters import leaves, used, used_in_package

NEUTRAL = {
    "flows/": "decides when and where a stage runs, not what it computes",
    "clipn/cli/": "commands call the modules that are listed",
    "clipn/config/": "values reach a stage as parameters",
    "clipn/project/": "reads and checks parameters",
    "clipn/errors.py": "names of errors",
    "clipn/paths.py": "where files lie; a stage names its own in dvc.yaml",
    "clipn/utils/devices.py": "where it is computed",
    "clipn/utils/fetch.py": "what is fetched is compared with checksums",
    "clipn/utils/files.py": "how files are written, not what",
    "clipn/utils/memory.py": "gives memory back",
    "clipn/utils/processes.py": "starts and ends processes",
    "clipn/utils/progress.py": "tells how far work has come",
    "clipn/utils/threads.py": "who computes, not what",
}
"""Beginning of a path → why a change there changes no byte of a stage's outputs."""
BY_NAME = ("attack", "robustness", "study")
"""Stages that take some methods by name. One more score must not run them again, so they list the files of their
methods instead of the folder and of the registry, which picks a class by its name."""
NAMES_ONLY = ("report",)
"""Stages to which scores are names: they list the registry, and not what is behind it."""
REGISTRY = "clipn/scores/__init__.py"
ALSO = {"train": ["clipn/training/run.py"], "download": ["clipn/data/download/downloader.py"]}
"""Modules that a stage starts in another process."""
ALSO_READ = {"train": ["train"]}
"""Parameters that are read there."""
UNREAD = {
    "train": {"train.seeds": "names the stages; one more seed must not train the others again"},
    "features": {"features.patches": "patches are of evaluation features"},
    "set_features": {
        "features.views": "views are of training features",
        "features.view_scale": "views are of training features",
    },
    "study_features": {
        "features.views": "views are of training features",
        "features.view_scale": "views are of training features",
    },
}
"""Parameters in a section that is handed to the library as a whole, and that this stage does not read."""
PACKAGE_DATA = {
    "clipn/data/captions/prepare.py": "clipn/data/captions/cc3m.yaml",
    "clipn/data/miniature.py": None,  # symbols.tsv is the `path` of what is drawn from it
    "clipn/data/sets/archives.py": None,
    "clipn/data/sets/benchmarks.py": "clipn/data/sets/benchmarks.yaml",
    "clipn/data/sets/class_names.py": None,  # the `names_file` of a set
    "clipn/data/sets/registry.py": None,  # the entry is the `path` of its set
    "clipn/models/backbone.py": "clipn/models/weights.yaml",
    "clipn/prompts/templates.py": "clipn/prompts/template_sets",
    "clipn/prompts/wordnet.py": "clipn/prompts/word_lists",
    "clipn/report/render/page.py": "clipn/report/render/report.html.j2",
    "clipn/report/sections/published.py": "clipn/report/sections/published.yaml",
}
"""Module that reads files of the package → what of them a stage has to list; None where a parameter names it."""


@cache
def graph() -> dict[str, dict[str, Any]]:
    """Stage → its definition in one of the three files."""
    stages: dict[str, dict[str, Any]] = {}
    for name in ("dvc.yaml", "sets/dvc.yaml", "study/dvc.yaml"):
        for stage, definition in yaml.safe_load((ROOT / name).read_text())["stages"].items():
            stages[stage] = definition.get("do", definition)
    return stages


def covers(dependency: str, path: str) -> bool:
    return path == dependency or path.startswith(f"{dependency}/")


def code(stage: str) -> set[str]:
    """The modules and data files of the library that a stage's outputs depend on."""
    stop = (*NEUTRAL, REGISTRY) if stage in (*BY_NAME, *NAMES_ONLY) else tuple(NEUTRAL)
    stop = tuple(path for path in stop if path != "flows/")
    starts = [Path(f"flows/stages/{stage}.py"), *map(Path, ALSO.get(stage, []))]
    modules = {str(path) for start in starts for path in reached(start, stop)} | set(ALSO.get(stage, []))
    if stage in BY_NAME:
        files = {Path(inspect.getfile(scores.REGISTRY[name])).relative_to(ROOT) for name in methods(stage)}
        modules |= {str(path) for file in files for path in {file, *reached(file, stop)}}
    if stage in NAMES_ONLY:
        modules.add(REGISTRY)
    data = {PACKAGE_DATA[path] for path in modules if PACKAGE_DATA.get(path)}
    return {path for path in modules | data if path and not path.startswith(tuple(NEUTRAL))}


def methods(stage: str) -> set[str]:
    """The methods that some profile gives to a stage."""
    return {name for profile in profiles.names() for name in profiles.compose(profile)[stage]["methods"]}


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("stage", STAGES)
def test_all_code_that_a_stage_reaches_is_a_dependency(stage: str) -> None:
    dependencies = [dep for dep in graph()[stage]["deps"] if dep.startswith("clipn/")]
    missing = {path for path in code(stage) if not any(covers(dep, path) for dep in dependencies)}
    assert not missing, f"list under deps of {stage}: {sorted(missing)}"
    idle = [dep for dep in dependencies if not any(covers(dep, path) for path in code(stage))]
    assert not idle, f"{stage} does not reach {idle}"
    assert all((ROOT / dep).exists() for dep in dependencies)


@pytest.mark.parametrize("stage", STAGES)
def test_all_parameters_that_a_stage_reads_are_listed(stage: str) -> None:
    listed = [parameter.split(".${")[0] for parameter in graph()[stage].get("params", [])]
    keys = {*used(Path(f"flows/stages/{stage}.py")), *ALSO_READ.get(stage, [])}
    if stage == "report":
        keys |= used_in_package(Path("clipn/report"))
    read = {leaf for key in keys for leaf in leaves(key)} - UNREAD.get(stage, {}).keys()

    def lists(parameter: str, leaf: str) -> bool:
        return leaf == parameter or leaf.startswith(f"{parameter}.")

    missing = {leaf for leaf in read if not any(lists(parameter, leaf) for parameter in listed)}
    assert not missing, f"list under params of {stage}: {sorted(missing)}"
    idle = {leaf for parameter in listed for leaf in leaves(parameter)} - read
    assert not idle, f"{stage} does not read {sorted(idle)}"


def test_every_module_that_reads_files_of_the_package_is_in_the_table() -> None:
    readers = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "clipn").rglob("*.py")
        if any(word in path.read_text(encoding="utf-8") for word in ("resources.files", "PackageLoader"))
    }
    assert readers <= set(PACKAGE_DATA)


def test_a_score_that_no_attack_names_runs_no_attack_again() -> None:
    for stage in BY_NAME:
        dependencies = graph()[stage]["deps"]
        assert "clipn/scores" not in dependencies
        assert REGISTRY not in dependencies
    for stage in ("baselines", "evaluate", "evaluate_imported"):
        assert "clipn/scores" in graph()[stage]["deps"]


def test_no_parameter_names_a_source_file() -> None:
    def texts(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [text for inner in value.values() for text in texts(inner)]
        if isinstance(value, list):
            return [text for inner in value for text in texts(inner)]
        return [value] if isinstance(value, str) else []

    for profile in profiles.names():
        assert not [text for text in texts(profiles.compose(profile)) if text.endswith(".py")], profile


def test_files_that_a_profile_names_are_watched() -> None:
    assert "${captions.path}" in graph()["captions"]["deps"]
    assert "${captions.images}" in graph()["download"]["deps"]
    assert {"${item.path}", "${item.names_file}"} <= set(graph()["sets"]["deps"])
    assert "${backbone.path}" in graph()["backbone"]["deps"]
    assert "${item.path}" in graph()["study_backbone"]["deps"]
    assert "${words.path}" in graph()["words"]["deps"]


def test_the_tracer_follows_imports_in_functions_and_names_that_a_package_hands_on() -> None:
    assert Path("clipn/project/checks.py") in reached(Path("clipn/project/params.py"))
    source = ast.parse((ROOT / "clipn/report/sections/benchmark.py").read_text())
    assert source
    assert Path("clipn/metrics/detection.py") in reached(Path("clipn/evaluation/benchmark.py"))
    assert Path(REGISTRY) not in reached(Path("clipn/evaluation/benchmark.py"), (REGISTRY,))

"""The library needs nothing but what `[project] dependencies` names: the pipeline's packages are an extra."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from clipn.data.download import crawl
from clipn.data.download.policy import FetchPolicy
from clipn.errors import MissingInput
from tests.conftest import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
IN_FUNCTIONS = ["hydra-core", "omegaconf", "img2dataset"]
"""Of the extra `pipeline`: what functions may import, which say how to install it where it is missing."""
CHILD_OF_IMG2DATASET = ROOT / "clipn/data/download/downloader.py"
"""Only the process that img2dataset runs in imports it; a subclass of img2dataset's needs it at once."""


def distributions(requirements: Iterable[str]) -> set[str]:
    return {normalised(re.split(r"[^\w.-]", requirement, maxsplit=1)[0]) for requirement in requirements}


def normalised(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def imported(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the third-party packages that some statements import."""
    for node in nodes:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names = [node.module]
        for name in names:
            package = name.partition(".")[0]
            if package not in sys.stdlib_module_names and package != "clipn":
                yield package


def packages(at_module_level: bool) -> dict[str, set[str]]:
    """Return the packages that `clipn/` imports, and the files that do so."""
    files: dict[str, set[str]] = {}
    for path in sorted((ROOT / "clipn").rglob("*.py")):
        if at_module_level and path == CHILD_OF_IMG2DATASET:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for package in imported(tree.body if at_module_level else ast.walk(tree)):
            files.setdefault(package, set()).add(str(path.relative_to(ROOT)))
    return files


@pytest.mark.parametrize(
    ("at_module_level", "allowed"),
    [
        (True, PROJECT["dependencies"]),
        (False, [*PROJECT["dependencies"], *IN_FUNCTIONS]),
    ],
    ids=["module", "anywhere"],
)
def test_what_the_library_imports_is_declared(at_module_level: bool, allowed: list[str]) -> None:
    of_package = packages_distributions()
    undeclared = {
        package: files
        for package, files in packages(at_module_level).items()
        if not {normalised(name) for name in of_package.get(package, [package])} & distributions(allowed)
    }
    assert not undeclared


def test_the_pipeline_is_an_extra() -> None:
    pipeline = distributions(PROJECT["optional-dependencies"]["pipeline"])
    assert {"prefect", "dvc", "dvclive", *IN_FUNCTIONS} <= pipeline
    assert not pipeline & distributions(PROJECT["dependencies"])


def test_a_missing_part_of_the_pipeline_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crawl, "find_spec", lambda name: None)
    policy = FetchPolicy(image_seconds=9, max_bytes=9)
    with pytest.raises(MissingInput, match=r"img2dataset, .*, is not installed: pip install 'clipn\[pipeline\]'"):
        crawl.run({}, policy, tmp_path, shard_seconds=1, deadline_seconds=1, tick=lambda: 0)
    assert not list(tmp_path.iterdir())


def test_files_that_the_code_reads_are_in_the_wheel() -> None:
    package = ROOT / "clipn"
    files = {path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["clipn"]
    packed = {path for pattern in patterns for path in package.glob(pattern)}
    assert {path.name for path in files - packed} == {"README.md"}

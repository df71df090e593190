"""Names in options: completed, checked, and refused with the list of all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clipn.cli import options
from clipn.cli.main import app
from tests.conftest import ROOT


def test_examples_are_one_a_line() -> None:
    assert options.examples("clipn a", "clipn b").splitlines()[1:] == ["Examples:", "  clipn a", "  clipn b"]


@pytest.mark.parametrize(
    ("names", "some"),
    [
        (options.scores, {"MCM", "CLIPN-ATD", "rMahalanobis"}),
        (options.template_sets, {"symbols", "simple"}),
        (options.paired_template_sets, {"symbols", "reference"}),
        (options.published_sets, {"imagenet", "digits"}),
        (options.benchmarks, {"imagenet", "cifar10"}),
        (options.profiles, {"miniature", "cc3m"}),
    ],
)
def test_names_that_the_library_knows(
    names: Callable[[], Iterable[str]], some: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert some <= set(names())
    word = min(some)
    assert word in options.completed(names)(word[:2])
    assert options.completed(names)("no such name") == []


def test_encoded_sets_are_the_folders_of_their_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert list(options.encoded_sets()) == []
    for name in ("greek", "arrows"):
        (tmp_path / "data/features/sets" / name).mkdir(parents=True)
    assert list(options.encoded_sets()) == ["arrows", "greek"]


def test_outside_of_a_project_nothing_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert options.completed(options.profiles)("") == []


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--score", "'haiku' is not one of 'MSP', 'MCM', "),
        ("--templates", "'haiku' is not one of 'symbols', 'openai_imagenet', "),
        ("--format", "'haiku' is not one of 'table', 'csv', 'json'"),
    ],
)
def test_a_wrong_name_is_a_usage_error_with_all_names(option: str, message: str) -> None:
    result = CliRunner().invoke(app, ["detect", "a.png", "--classes", "sun", option, "haiku"])
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.output
    assert message in result.output


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("det", {"detect"}),
        ("detect --score rMa", {"rMahalanobis"}),
        ("detect --format j", {"json"}),
        ("sets li", {"list"}),
        ("sets check cifar100_", {"cifar100_train"}),
        ("profile min", {"miniature"}),
    ],
)
def test_the_shell_completes(words: str, completions: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    environment = {
        "_CLIPN_COMPLETE": "complete_bash",
        "COMP_WORDS": f"clipn {words}",
        "COMP_CWORD": str(len(words.split())),
    }
    result = CliRunner().invoke(app, prog_name="clipn", env=environment)
    assert set(result.output.split()) == completions

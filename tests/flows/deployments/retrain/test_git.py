"""Git commands: what they print, how they fail, and in which repository they run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from flows.deployments.retrain.git import GitFailed, git, top


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    subprocess.run(["git", "init", "--quiet", "--initial-branch", "main", str(folder)], check=True)
    return folder


def test_the_output_comes_without_its_last_line_break(repository: Path) -> None:
    digest = git(repository, "hash-object", "-w", "--stdin", text="one\ntwo\n")
    assert digest == "814f4a422927b82f5f8a43f8fab6d3839e3983f2"
    assert git(repository, "cat-file", "blob", digest) == "one\ntwo"


def test_a_failure_has_git_s_own_message(repository: Path) -> None:
    with pytest.raises(GitFailed, match="unknown revision"):
        git(repository, "log", "nowhere")
    with pytest.raises(GitFailed, match=r"^git rev-parse ended with status 1$"):
        git(repository, "rev-parse", "--verify", "--quiet", "nowhere")


def test_another_repository_s_variables_do_not_count(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert git(repository, "rev-parse", "--absolute-git-dir") == str(repository / ".git")
    index = {"GIT_INDEX_FILE": str(repository / "own")}
    git(repository, "update-index", "--add", "--cacheinfo", f"100644,{'8' * 40},a.txt", settings=index)
    assert (repository / "own").is_file()


def test_the_top_of_a_checkout_and_of_a_bare_repository(repository: Path, tmp_path: Path) -> None:
    (repository / "a/b").mkdir(parents=True)
    assert top(repository / "a/b") == repository
    git(tmp_path, "init", "--quiet", "--bare", str(tmp_path / "bare"))
    assert top(tmp_path / "bare") == tmp_path / "bare"
    assert top(tmp_path / "nowhere") is None
    (tmp_path / "plain").mkdir()
    assert top(tmp_path / "plain") is None

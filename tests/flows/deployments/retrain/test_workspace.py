"""A clean checkout of any revision, whatever was left in its folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from dvc.config import Config

from clipn.errors import InvalidParams, MissingInput
from flows.deployments.retrain import workspace
from flows.deployments.retrain.git import GitFailed
from flows.deployments.retrain.workspace import Busy, Workspace
from flows.runtime import children
from tests.flows import tiny_pipeline
from tests.flows.tiny_pipeline import Project


def quiet(line: object, *values: object) -> None:
    """For what is said."""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return tiny_pipeline.make(tmp_path)


def opened(project: Project, revision: str = "HEAD") -> Workspace:
    """The workspace, at a revision."""
    space = Workspace(project.workspace, str(project.folder))
    space.open(quiet)
    space.checkout(space.commit(revision), None, quiet)
    return space


def files(space: Workspace) -> str:
    return space.git("status", "--porcelain", "--untracked-files=all")


def test_the_checkout_is_that_of_the_revision_and_the_project_stays_as_it_was(project: Project) -> None:
    project.write("train.txt", "not committed\n")
    project.write("stray.txt", "of the user\n")
    before = project.git("status", "--porcelain")
    space = opened(project)
    assert (space.folder / "train.txt").read_text() == "0.0\n"
    assert files(space) == ""
    assert project.git("status", "--porcelain") == before
    assert project.git("for-each-ref", "--format=%(refname)") == "refs/heads/main"


def test_revisions_by_every_name(project: Project) -> None:
    first = project.git("rev-parse", "HEAD")
    project.git("tag", "v1")
    project.git("switch", "--quiet", "--create", "topic")
    second = project.commit("More")
    project.git("checkout", "--quiet", "--detach")
    third = project.commit("On no branch")
    space = Workspace(project.workspace, str(project.folder))
    space.open(quiet)
    names = {"HEAD": third, "HEAD~1": second, "topic": second, "v1": first, "main": first, first[:10]: first}
    assert {name: space.commit(name) for name in names} == names
    for name in ("nowhere", "--help", "", "refs/tags"):
        with pytest.raises(InvalidParams, match="has no revision"):
            space.commit(name)


def test_branches_and_tags_follow_the_repository(project: Project) -> None:
    project.git("tag", "accepted/mistaken")
    space = opened(project)
    project.git("tag", "--delete", "accepted/mistaken")
    newer = project.commit("Newer")
    space.open(quiet)
    assert space.commit("main") == newer
    assert space.git("tag", "--list") == ""


def cut_lock(folder: Path) -> None:
    (folder / "dvc.lock").write_text("schema: '2.0'\nstages:\n  data:\n    cmd: 'python stage.py da")


def cut_lock_in_an_entry(folder: Path) -> None:
    (folder / "dvc.lock").write_text("schema: '2.0'\nstages:\n  data:\n    outs:\n")


def change_files(folder: Path) -> None:
    (folder / "stage.py").write_text("broken(\n")
    (folder / "params.yaml").unlink()
    (folder / "stray.py").write_text("")
    (folder / "flows/stray").mkdir()
    (folder / "flows/stray/more.py").write_text("")


def lose_git(folder: Path) -> None:
    shutil.rmtree(folder / ".git")


def half_a_clone(folder: Path) -> None:
    lose_git(folder)
    (folder / ".git").mkdir()
    (folder / ".git/HEAD").write_text("ref: refs/heads/ma")


def lose_objects(folder: Path) -> None:
    for file in (folder / ".git/objects").rglob("*"):
        if file.is_file():
            file.chmod(0o644)
            file.write_bytes(file.read_bytes()[:10])


def leave_locks(folder: Path) -> None:
    for name in ("index.lock", "HEAD.lock", "refs/remotes/origin/main.lock"):
        (folder / ".git" / name).write_text("")
    (folder / ".dvc/tmp").mkdir(exist_ok=True)
    (folder / ".dvc/tmp/rwlock").write_text('{"write": {"da')


@pytest.mark.parametrize(
    "damage",
    [cut_lock, cut_lock_in_an_entry, change_files, lose_git, half_a_clone, lose_objects, leave_locks],
)
def test_damage_is_mended_and_unfinished_work_kept(project: Project, damage: Callable[[Path], None]) -> None:
    space = opened(project)
    (space.folder / "data/work").mkdir(parents=True)
    (space.folder / "data/work/unfinished").write_text("half")
    damage(space.folder)
    again = opened(project)
    assert files(again) == ""
    assert (again.folder / "stage.py").read_text() == tiny_pipeline.STAGE
    assert (again.folder / "data/work/unfinished").read_text() == "half"
    assert not [*again.folder.glob(".git/**/*.lock")]
    assert again.pipeline().stages == 5


LOCK = "schema: '2.0'\nstages:\n  data:\n    cmd: python stage.py data\n"


def test_results_of_the_same_commit_are_kept_but_nothing_else(project: Project) -> None:
    space = opened(project)
    (space.folder / "dvc.lock").write_text(LOCK)
    (space.folder / "reports").mkdir()
    (space.folder / "reports/metrics.json").write_text("{}")
    (space.folder / "stray").write_text("")
    lines: list[str] = []
    space.open(quiet)
    space.checkout(space.commit("HEAD"), None, lines.append)
    assert files(space).split() == ["??", "dvc.lock", "??", "reports/metrics.json"]
    assert lines == ["Going on from what the last run in this workspace has finished"]


def half_a_run(folder: Path) -> None:
    (folder / "dvc.lock").write_text(LOCK)
    (folder / "reports").mkdir()
    (folder / "reports/metrics.json").write_text("{}")
    (folder / "models").mkdir()
    (folder / "models/seed-0.txt").write_text("ignored by git")


def test_results_are_gone_on_from_at_a_commit_that_was_not_run(project: Project) -> None:
    half_a_run(opened(project).folder)
    project.write("train.txt", "0.1\n")
    project.commit("Another")
    space = opened(project)
    assert files(space).split() == ["??", "dvc.lock", "??", "reports/metrics.json"]
    assert (space.folder / "train.txt").read_text() == "0.1\n"


def test_results_make_way_for_those_of_a_commit_that_was_run(project: Project) -> None:
    half_a_run(opened(project).folder)
    project.write("dvc.lock", LOCK.replace("data", "other"))
    project.commit("With results of its own")
    space = opened(project)
    assert files(space) == ""
    assert (space.folder / "models/seed-0.txt").exists()


def test_without_a_last_run_the_accepted_results_are_gone_on_from(project: Project) -> None:
    project.git("switch", "--quiet", "--create", "retrained")
    project.write("dvc.lock", LOCK)
    project.write("reports/metrics.json", "{}")
    project.write("train.txt", "no result\n")
    accepted = project.commit("Accepted")
    project.git("switch", "--quiet", "main")
    project.commit("Another")
    space = Workspace(project.workspace, str(project.folder))
    space.open(quiet)
    for last_run in (None, accepted):  # one that ended before any stage leaves nothing to go on from
        space.checkout(space.commit("main"), last_run, quiet)
    assert files(space).split() == ["??", "dvc.lock", "??", "reports/metrics.json"]
    project.write("dvc.lock", LOCK.replace("data", "other"))
    project.commit("With results of its own")
    shutil.rmtree(project.workspace)
    space.open(quiet)
    space.checkout(space.commit("main"), accepted, quiet)
    assert files(space) == ""


def test_a_folder_of_somebody_else_is_refused(project: Project, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("precious")
    for _ in range(2):
        with pytest.raises(InvalidParams, match="holds files that no retraining put there"):
            Workspace(home, str(project.folder)).open(quiet)
    with pytest.raises(InvalidParams, match="holds files that no retraining put there"):
        Workspace(project.folder, str(project.folder)).open(quiet)
    assert [path.name for path in home.iterdir()] == ["thesis.txt"]


def test_a_repository_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(GitFailed, match="does not appear to be a git repository"):
        Workspace(tmp_path / "space", str(tmp_path / "nothing")).open(quiet)


def test_only_one_holds_a_workspace_and_others_learn_who(tmp_path: Path) -> None:
    folder = tmp_path / "space"
    with workspace.locked(folder, "run 'first'"):
        with pytest.raises(Busy, match=r"in use by run 'first'; wait for its end"), workspace.locked(folder, "second"):
            pass
        with workspace.locked(tmp_path / "other", "third"):
            pass
    with workspace.locked(folder, "run 'x'"):
        assert (tmp_path / "space.lock").read_text() == "run 'x'"


def test_processes_of_an_earlier_run_are_waited_for(project: Project) -> None:
    space = opened(project)
    code = "import time; time.sleep(1); open('data.txt', 'w')"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=space.folder,
                               env=children.environment(space.folder))  # fmt: skip
    lines: list[str] = []
    space.open(lines.append)
    assert process.poll() is not None or not process.wait(1)
    assert "Waiting for processes" in lines[0]
    assert (space.folder / "data.txt").exists()


def test_dvc_that_somebody_runs_there_is_not_disturbed(project: Project) -> None:
    space = opened(project)
    lock = space.folder / ".dvc/tmp/rwlock"
    lock.parent.mkdir(exist_ok=True)
    lock.write_text(json.dumps({"write": {"x": {"pid": os.getpid(), "cmd": "dvc repro"}}}))
    by_hand = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "dvc"], cwd=space.folder)
    by_name = subprocess.Popen(["bash", "-c", "exec -a dvc sleep 60"], cwd=space.folder)
    try:
        time.sleep(0.2)
        with pytest.raises(Busy, match=rf"process {by_name.pid} runs DVC in the workspace"):
            space.open(quiet)
        assert lock.exists()
    finally:
        for process in (by_hand, by_name):
            process.kill()
            process.wait()
    space.open(quiet)
    assert not lock.exists()


def test_cache_and_remotes_are_the_project_s(project: Project) -> None:
    project.write(".dvc/config.local", "[cache]\n    dir = ../../cache\n['remote \"mine\"']\n    url = ../mine\n")
    space = opened(project)
    assert space.connect(project.folder)
    found = Config(str(space.folder / ".dvc"))
    above = project.folder.parent
    assert found["cache"]["dir"] == str(above / "cache")
    assert {name: remote["url"] for name, remote in found["remote"].items()} == {
        "storage": str(above / "storage"),
        "mine": str(project.folder / "mine"),
    }
    assert found["core"]["remote"] == "storage"
    assert files(space) == ""


def test_without_a_remote_and_without_dvc(project: Project) -> None:
    project.write(".dvc/config", "[core]\n    analytics = false\n")
    project.commit("No remote")
    space = opened(project)
    assert not space.connect(project.folder)
    project.git("rm", "-r", "--quiet", ".dvc")
    project.commit("No DVC")
    shutil.rmtree(space.folder)
    with pytest.raises(MissingInput, match=r"has no \.dvc at this revision"):
        opened(project).connect(project.folder)


def test_results_are_what_git_keeps_of_every_part_of_the_pipeline(project: Project) -> None:
    part = "stages: {part: {wdir: .., cmd: touch part.txt, outs: [part.txt: {cache: false}]}}\n"
    project.write("parts/dvc.yaml", part)
    project.commit("A part of its own")
    found = opened(project).pipeline()
    assert found.stages == 6
    assert found.results == (
        "dvc.lock",
        "part.txt",
        "parts/dvc.lock",
        "reports/metrics.json",
        "reports/metrics/b/seed-0.json",
        "reports/metrics/b/seed-1.json",
        "reports/metrics/b/seed-2.json",
        "reports/results.md",
    )


def test_a_pipeline_that_dvc_does_not_understand(project: Project) -> None:
    project.write("dvc.yaml", "stages: {broken: {cmds: x}}\n")
    project.commit("Broken")
    with pytest.raises(InvalidParams, match=r"dvc\.yaml"):
        opened(project).pipeline()

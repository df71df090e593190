"""The flow `retrain` on a tiny project: real git, real DVC, a real Prefect server."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_URL

from flows.deployments.retrain.flow import main, retrain
from flows.runtime import children
from tests.conftest import ROOT
from tests.flows import tiny_pipeline
from tests.flows.tiny_pipeline import STAGES, Project
from tests.waiting import wait_until

RESULTS = [
    "dvc.lock",
    "reports/metrics.json",
    "reports/metrics/b/seed-0.json",
    "reports/metrics/b/seed-1.json",
    "reports/metrics/b/seed-2.json",
    "reports/results.md",
]
FLOW = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from flows.deployments.retrain.flow import retrain; retrain()"


@pytest.fixture(scope="module")
def accepted_once(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project after one retraining."""
    project = tiny_pipeline.make(tmp_path_factory.mktemp("accepted"))
    with pytest.MonkeyPatch.context() as patch:
        enter(project, patch)
        assert run().is_completed()
    assert project.ran_since() == STAGES
    return project


@pytest.fixture
def project(accepted_once: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of it, in which the test runs."""
    shutil.copytree(accepted_once.folder.parent, tmp_path, dirs_exist_ok=True)
    copy = Project(tmp_path / "project", tmp_path / "ran", tmp_path / "slow")
    enter(copy, monkeypatch)
    return copy


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project of which nothing ran."""
    project = tiny_pipeline.make(tmp_path)
    enter(project, monkeypatch)
    return project


def enter(project: Project, patch: pytest.MonkeyPatch) -> None:
    patch.chdir(project.folder)
    patch.setenv("DVC_SITE_CACHE_DIR", str(project.folder.parent / "site"))
    for name, value in project.environment.items():
        patch.setenv(name, value)


def run(**parameters: Any) -> State[Any]:
    return cast(State[Any], retrain(**parameters, return_state=True))


def failure(**parameters: Any) -> str:
    state = run(**parameters)
    assert state.is_failed()
    return str(state.message)


def refs(project: Project) -> dict[str, str]:
    lines = project.git("for-each-ref", "--format=%(refname:short) %(objectname)").splitlines()
    return dict(line.split() for line in lines)


def test_a_pass_commits_exactly_the_results_and_tags_them(project: Project) -> None:
    (tag,) = project.git("tag", "--list").split()
    assert tag.startswith("accepted/2")
    assert tag.endswith("-1")
    assert project.git("rev-parse", f"{tag}^{{commit}}") == project.git("rev-parse", "retrained")
    assert project.git("rev-parse", "retrained^") == project.git("rev-parse", "main")
    assert project.git("diff", "--name-only", "main", "retrained").splitlines() == RESULTS
    assert project.git("log", "-1", "--format=%an <%ae>", "retrained") == "Ann Other <ann@localhost>"
    assert "Nothing was accepted before" in project.git("log", "-1", "--format=%B", "retrained")
    # The user's own checkout is as it was.
    assert project.git("status", "--porcelain", "--branch") == "## main"
    assert not (project.folder / "dvc.lock").exists()


def test_data_is_in_the_remote_and_in_the_project_s_cache(project: Project, tmp_path: Path) -> None:
    clone = Project(tmp_path / "clone", project.ran, project.slow)
    project.git("clone", "--quiet", "--branch", "retrained", str(project.folder), str(clone.folder))
    clone.dvc("pull", "--quiet")
    assert (clone.folder / "models/seed-2.txt").read_text() == "2 0.0\n"
    (clone.folder / "dvc.lock").unlink()
    clone.dvc("repro", "--pull", "--quiet")
    assert clone.ran_since() == STAGES[1:]  # the run cache was pushed; it takes no stages with files in git
    project.git("switch", "--quiet", "retrained")
    project.dvc("checkout", "--quiet")
    assert (project.folder / "models/seed-2.txt").read_text() == "2 0.0\n"


def test_a_second_run_says_that_nothing_changed(project: Project) -> None:
    before = refs(project)
    state = run()
    assert state.is_completed()
    assert "Nothing changed: the results are those of accepted/" in str(state.message)
    assert (refs(project), project.ran_since()) == (before, [])


def test_only_what_depends_on_a_change_runs_and_the_branch_moves_forward(project: Project) -> None:
    project.commit("Better", bias=0.01)
    before = refs(project)
    state = run()
    assert project.ran_since() == STAGES[1:]
    tip = project.git("rev-parse", "retrained")
    assert project.git("rev-parse", "retrained^1", "retrained^2").split() == [before["retrained"], before["main"]]
    assert project.git("diff", "--name-only", "main", "retrained").splitlines() == RESULTS
    assert str(state.message).startswith("Accepted as accepted/")
    assert str(state.message).split()[2].endswith("-2:")
    message = project.git("log", "-1", "--format=%B", tip)
    assert "2 numbers, each within its tolerance" in message
    assert [cell.strip() for cell in message.splitlines()[6].split("|")[1:-1]] == [
        "b", "CLIPN-ATD", "auroc", "80.20", "81.20", "+1.00", "0.61", "passed (3 and 3 seeds)",
    ]  # fmt: skip
    assert project.show("reports/metrics.json", "retrained")["b"]["CLIPN-ATD"]["auroc"]["average"] == 0.812


@pytest.mark.parametrize("workspace_is_there", [True, False])
def test_a_change_that_no_stage_depends_on_runs_nothing(project: Project, workspace_is_there: bool) -> None:
    project.write("README.md", "Read me\n")
    project.commit("A page")
    if not workspace_is_there:
        shutil.rmtree(project.workspace)
    assert "Nothing changed" in str(run().message)
    assert project.ran_since() == []


def test_results_that_the_user_has_committed_are_tagged_and_not_committed_again(project: Project) -> None:
    project.git("merge", "--quiet", "--ff-only", "retrained")
    project.commit("Better", bias=0.01)
    project.dvc("repro", "--quiet")
    commit = project.commit("Results")
    project.ran_since()
    assert "Accepted as accepted/" in str(run().message)
    assert project.ran_since() == []
    assert project.git("rev-parse", "retrained") == commit


def test_a_failed_gate_leaves_everything_to_look_at_and_nothing_else(project: Project) -> None:
    project.commit("Worse", bias=-0.05)
    before = refs(project)
    objects = sorted((project.folder.parent / "storage").rglob("*"))
    message = failure()
    assert "b CLIPN-ATD auroc fell by 5.00 points, from 80.20 to 75.20; tolerance 0.61" in message
    assert "b CLIPN-ATD fpr95_id_interpolated rose by 5.00 points, from 19.80 to 24.80; tolerance 1.00" in message
    assert f"Look at them in {project.workspace}" in message
    assert "run again with accept_anyway" in message
    assert refs(project) == before
    assert sorted((project.folder.parent / "storage").rglob("*")) == objects
    assert '"auroc": {"average": 0.752}' in (project.workspace / "reports/metrics.json").read_text()
    project.ran_since()
    assert failure() == message
    assert project.ran_since() == []
    # Somebody has looked, and wants them.
    assert "Accepted as" in str(run(accept_anyway=True).message)
    assert project.ran_since() == []
    assert "accepted by hand although the gate failed" in project.git("log", "-1", "--format=%B", "retrained")
    assert "Nothing changed" in str(run().message)


def test_the_limits_are_parameters(project: Project) -> None:
    project.commit("Worse", bias=-0.007)
    assert "auroc fell by 0.70 points" in failure()
    assert run(limits={"auroc_floor": 0.008}).is_completed()


def test_the_accepted_commit_can_be_named(project: Project) -> None:
    project.commit("Better", bias=0.02)
    run(branch="best")
    project.commit("In between", bias=0.01)
    assert "worse than best by" in failure(accepted="best")
    assert "Accepted as" in str(run(accepted="retrained").message)


def test_what_is_shown(project: Project) -> None:
    state = run()
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(state.state_details.flow_run_id)
        found = {str(artifact.key): artifact for artifact in client.read_artifacts(limit=200)
                 if artifact.flow_run_id == flow_run.id}  # fmt: skip
    assert flow_run.name == "retrain HEAD"
    assert {"retrain-metrics", "retrain-results", "retrain-report", "retrain-workspace"} <= found.keys()
    assert "CLIPN-ATD" in str(found["retrain-metrics"].data)
    assert "report.html" in str(found["retrain-report"].data)
    (bar,) = [artifact for artifact in found.values() if artifact.type == "progress"]
    assert float(cast(float, bar.data)) == 100


def test_branch_and_tag_go_to_a_git_remote_also_after_it_was_away(project: Project, tmp_path: Path) -> None:
    remote = tmp_path / "remote.git"
    project.git("init", "--quiet", "--bare", str(remote))
    project.git("remote", "add", "origin", str(remote))
    assert "Nothing changed" in str(run(push_git="origin").message)
    there = subprocess.check_output(["git", "-C", str(remote), "for-each-ref", "--format=%(refname)"], text=True)
    (tag,) = project.git("tag", "--list").split()
    assert there.split() == ["refs/heads/retrained", f"refs/tags/{tag}"]


def test_a_repository_that_is_an_address(project: Project, tmp_path: Path) -> None:
    project.commit("Better", bias=0.01)
    state = run(repository=project.folder.as_uri(), workspace=str(tmp_path / "elsewhere"))
    assert "Accepted as" in str(state.message)
    assert project.git("log", "-1", "--format=%s", "retrained").startswith("Results of")


def test_without_a_dvc_remote_the_data_stays_here(fresh: Project) -> None:
    fresh.write(".dvc/config", "[core]\n    analytics = false\n")
    fresh.commit("No remote")
    assert run().is_completed()
    assert not (fresh.folder.parent / "storage").exists()


def test_a_profile_is_composed_in_the_checkout_and_committed(project: Project) -> None:
    project.write("clipn/__init__.py", "")
    project.write(
        "clipn/__main__.py",
        "import sys\nfrom pathlib import Path\n"
        "words = sys.argv[sys.argv.index('--') + 1:]\n"
        "if words[0] != 'small': sys.exit(f'error: unknown profile {words[0]!r}; known: small')\n"
        "text = Path('params.yaml').read_text().replace('bias: 0.0', words[1].replace('=', ': '))\n"
        "Path('params.yaml').write_text(text)\n",
    )
    project.commit("Profiles")
    assert failure(profile="large") == "profile: unknown profile 'large'; known: small"
    assert failure(overrides=["bias=0.01"]).startswith("overrides change a profile, so name the profile too")
    assert "Accepted as" in str(run(profile="small", overrides=["bias=0.01"]).message)
    assert project.git("diff", "--name-only", "main", "retrained").splitlines() == sorted([*RESULTS, "params.yaml"])
    assert project.git("log", "-1", "--format=%s", "retrained").endswith("as small bias=0.01")
    # The next run takes the committed parameters again.
    assert "fell by 1.00 points" in failure()


def test_wrong_inputs_are_messages_before_any_work(project: Project, tmp_path: Path) -> None:
    before = refs(project)
    assert "has no revision 'nowhere'; name a branch, a tag or a commit" in failure(revision="nowhere")
    assert "has no revision 'accepted/none'" in failure(accepted="accepted/none")
    assert "has no reports/metrics.json, so there is nothing to compare" in failure(accepted="main")
    assert f"repository: {tmp_path} is no git repository" in failure(repository=str(tmp_path))
    assert "cannot be read" in failure(repository="file:///nowhere", workspace=str(tmp_path / "space"))
    assert "'no branch' is no name for a branch" in failure(branch="no branch")
    assert "'main' is checked out in" in failure(branch="main")
    assert "push_git: 'nobody' cannot be reached" in failure(push_git="nobody")
    assert "holds files that no retraining put there" in failure(workspace=str(project.folder))
    assert "train.txt is a file; name a folder" in failure(workspace="train.txt")
    assert "cannot be written" in failure(workspace="/proc/nothing")
    assert not (project.folder / "train.txt.lock").exists()
    assert (refs(project), project.ran_since()) == (before, [])


def test_limits_that_are_none_are_refused_before_the_run(project: Project) -> None:
    state = run(limits={"confidence": 2})
    assert state.is_failed()
    assert "limits.confidence" in str(state.message)


def test_as_a_command(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def command(*words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["retrain", *words])
        main()

    with pytest.raises(SystemExit, match=r"usage: .* a parameter is one of revision, accepted, branch"):
        command("revison=main")
    with pytest.raises(SystemExit, match=r"error: .* has no revision '12345678'"):
        command("revision=12345678", "limits={confidence: 0.95}")
    with pytest.raises(SystemExit, match=r"error: limits: '\{confidence: ' is no YAML"):
        command("limits={confidence: ")
    with pytest.raises(SystemExit, match=r"error: (?s:.*)limits\.confidence"):
        command("limits={confidence: 2}")
    project.write("train.txt", "-0.05\n")
    project.commit("Worse")
    command("accepted=", "accept_anyway=true")
    assert "accepted by hand" in project.git("log", "-1", "--format=%B", "retrained")


def test_a_stage_that_fails_is_told_in_its_own_words_and_gone_on_with(fresh: Project) -> None:
    fresh.write("train.txt", "no number\n")
    fresh.commit("Broken")
    message = failure()
    assert message.startswith("the pipeline failed: failed to reproduce 'train@0'")
    assert message.count("Finished stages are kept") == 1
    fresh.write("train.txt", "0.0\n")
    fresh.commit("Mended")
    fresh.ran_since()
    assert run().is_completed()
    assert fresh.ran_since() == STAGES[1:]


def works(process: int) -> bool:
    """Whether it is there and has not ended; who inherits an orphan may be slow to take note of its end."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for_stage(project: Project, flow: subprocess.Popen[bytes]) -> list[int]:
    """Process numbers of the stage that waits and of its child."""
    waits, deadline = Path(f"{project.ran}.waits"), time.monotonic() + 60
    while not (waits.is_file() and waits.read_text()):
        assert flow.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return [int(word) for word in waits.read_text().split()]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_an_end_in_the_middle_ends_every_process_and_the_next_run_goes_on(fresh: Project, end: signal.Signals) -> None:
    fresh.slow.write_text("train 1")
    environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    flow = subprocess.Popen([sys.executable, "-c", FLOW], cwd=fresh.folder, env=environment)
    try:
        working = wait_for_stage(fresh, flow)
        assert f"the workspace {fresh.workspace} is in use by run 'retrain HEAD'" in failure()
        flow.send_signal(end)
        flow.wait(timeout=150)
    finally:
        flow.kill()
    wait_until(lambda: not children.working_in(fresh.workspace))
    assert not any(map(works, working))
    assert "retrained" not in refs(fresh)
    assert fresh.ran_since() == STAGES[:3]
    fresh.slow.unlink()
    assert run().is_completed()
    assert fresh.ran_since() == STAGES[2:]
    assert (fresh.workspace / "data/work/unfinished").read_text() == "half"
    assert "retrained" in refs(fresh)

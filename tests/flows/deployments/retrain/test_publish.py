"""What leaves a workspace: a tree of exactly the results, a commit on the right parents, a tag, tables."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from clipn.errors import ClipnError, InvalidParams
from clipn.evaluation.gate import Key, Row, Verdict
from flows.deployments.retrain import publish
from flows.deployments.retrain.workspace import Workspace
from tests.flows import tiny_pipeline
from tests.flows.tiny_pipeline import Project

ATD = Key("b", "CLIPN-ATD", "auroc")
ROWS = [
    Row(ATD, Verdict.PASSED, 0.8, 0.8123, 0.005, "3 seeds"),
    Row(Key("b", "MSP", "auroc"), Verdict.NEW, None, 0.5),
]
DAY = datetime.date(2026, 3, 9)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return tiny_pipeline.make(tmp_path)


@pytest.fixture
def space(project: Project) -> Workspace:
    """The workspace at the project's commit, with one new result and one file that is none."""
    space = Workspace(project.workspace, str(project.folder))
    space.open(lambda line: None)
    space.checkout(space.commit("HEAD"), None, lambda line: None)
    (space.folder / "reports").mkdir()
    (space.folder / "reports/metrics.json").write_text("{}\n")
    (space.folder / "reports/report.html").write_text("ignored by git, but a result\n")
    (space.folder / "stray.txt").write_text("no result\n")
    return space


@pytest.mark.parametrize(
    ("existing", "tag"),
    [
        ([], "accepted/2026-03-09-1"),
        (["accepted/2026-03-08-7", "v1", "accepted/2026-03-09"], "accepted/2026-03-09-1"),
        (["accepted/2026-03-09-2", "accepted/2026-03-09-10"], "accepted/2026-03-09-11"),
    ],
)
def test_tags_count_from_one_each_day(existing: list[str], tag: str) -> None:
    assert publish.next_tag(existing, DAY) == tag


def test_rows_are_in_percent_and_an_aligned_table() -> None:
    assert publish.table(ROWS)[0] == {
        "benchmark": "b",
        "method": "CLIPN-ATD",
        "metric": "auroc",
        "accepted": "80.00",
        "new": "81.23",
        "difference": "+1.23",
        "tolerance": "0.50",
        "verdict": f"{Verdict.PASSED.value} (3 seeds)",
    }
    lines = publish.markdown(ROWS).splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    assert [cell.strip() for cell in lines[3].split("|")[4:7]] == ["", "50.00", ""]
    assert publish.percent(None) == ""


def test_a_tree_holds_the_results_and_nothing_else_that_is_new(space: Workspace) -> None:
    base = space.commit("HEAD")
    tree = publish.tree(space, base, ["reports/metrics.json", "reports/report.html", "reports/none.json"])
    changed = space.git("diff-tree", "-r", "--name-only", base, tree).splitlines()
    assert changed == ["reports/metrics.json", "reports/report.html"]
    assert publish.differ(space, tree, base, ["reports"])
    assert not publish.differ(space, tree, base, ["params.yaml"])


def test_a_result_that_is_gone_is_removed_from_the_tree(space: Workspace) -> None:
    base = space.commit("HEAD")
    (space.folder / "train.txt").unlink()
    tree = publish.tree(space, base, ["train.txt"])
    assert space.git("diff-tree", "-r", "--name-status", base, tree) == "D\ttrain.txt"


def test_a_commit_stands_on_the_revision_and_on_the_branch(project: Project, space: Workspace) -> None:
    base = space.commit("HEAD")
    assert publish.tip(space, "retrained") is None
    first = publish.commit(space, project.folder, base, "retrained", publish.tree(space, base, ["reports"]), "One\n")
    assert space.git("log", "-1", "--format=%P %an %s", first) == f"{base} Ann Other One"
    tag = publish.deliver(space, project.folder, first, "retrained", "One\n")
    assert project.git("rev-parse", "retrained", f"{tag}^{{commit}}").split() == [first, first]

    later = project.commit("Later")  # beside the branch, which is joined
    space.fetch()
    assert publish.tip(space, "retrained") == first
    assert publish.newest_accepted(space, "retrained", later) == tag
    second = publish.commit(space, project.folder, later, "retrained", publish.tree(space, later, ["reports"]), "Two\n")
    assert space.git("log", "-1", "--format=%P", second) == f"{first} {later}"
    # Nothing new, and the branch can move there: no commit is made.
    same = space.git("rev-parse", f"{second}^{{tree}}")
    assert publish.commit(space, project.folder, second, "retrained", same, "Three\n") == second


def test_a_repository_that_takes_nothing_is_an_error_with_the_way_out(project: Project, space: Workspace) -> None:
    gone = Workspace(space.folder, str(project.folder / "nowhere"))
    with pytest.raises(ClipnError, match=r"(?s)did not take the branch 'retrained' and the tag .*push --atomic"):
        publish.deliver(gone, project.folder, space.commit("HEAD"), "retrained", "One\n")


@pytest.mark.parametrize(
    ("branch", "remote", "message"),
    [
        ("a..b", None, r"branch: 'a\.\.b' is no name for a branch"),
        ("main", None, "branch: 'main' is checked out in"),
        ("retrained", "nowhere", "push_git: 'nowhere' cannot be reached"),
    ],
)
def test_a_branch_that_cannot_be_written_is_found_before_the_work(
    project: Project, branch: str, remote: str | None, message: str
) -> None:
    with pytest.raises(InvalidParams, match=message):
        publish.check(project.folder, branch, remote)


def test_who_commits_is_known_even_where_git_does_not_know(project: Project, tmp_path: Path) -> None:
    assert publish.identity(project.folder)[1] == "user.name=Ann Other"
    project.git("config", "--unset", "user.email")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path))
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        assert publish.identity(project.folder)[3] == "user.email=retrain@localhost"

"""Deliver accepted results from a workspace: a commit of exactly the results, a branch, a tag, the data."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from clipn.errors import ClipnError, InvalidParams
from clipn.evaluation.gate import Row
from flows.deployments.retrain.git import GitFailed, git
from flows.deployments.retrain.workspace import DVC, Log, Workspace

TAGS = "accepted/"
_TAG = re.compile(rf"{TAGS}(\d{{4}}-\d\d-\d\d)-(\d+)")
_IDENTITY = {"user.name": "clipn retrain", "user.email": "retrain@localhost"}
"""For machines on which git does not know who commits."""
COLUMNS = ("benchmark", "method", "metric", "accepted", "new", "difference", "tolerance", "verdict")


def check(repository: Path | None, branch: str, push_git: str | None) -> None:
    """Check before long work that the branch can be written.

    Args:
        repository: where it is to go, if that lies on this machine.
        branch: its name.
        push_git: name or address of a git remote.

    Raises:
        InvalidParams: no name for a branch, one that is checked out, or a remote that does not answer.
    """
    here = repository or Path.cwd()
    try:
        git(here, "check-ref-format", f"refs/heads/{branch}")
    except GitFailed as error:
        raise InvalidParams(f"branch: {branch!r} is no name for a branch") from error
    if repository is not None and f"branch refs/heads/{branch}" in git(repository, "worktree", "list", "--porcelain"):
        raise InvalidParams(f"branch: {branch!r} is checked out in {repository}, which retraining does not touch; "
                            "check out another one there, or name another branch")  # fmt: skip
    if push_git is not None:
        try:
            git(here, "ls-remote", "--quiet", "--end-of-options", push_git, f"refs/heads/{branch}")
        except GitFailed as error:
            raise InvalidParams(f"push_git: {push_git!r} cannot be reached from {here}: {error}") from error


def newest_accepted(workspace: Workspace, branch: str, commit: str) -> str | None:
    """Return the newest tag `accepted/…` in the history of the branch or of the commit that is retrained."""
    histories = [f"--merged={start}" for start in (commit, tip(workspace, branch)) if start]
    newest_last = ("--sort=version:refname", "--sort=creatordate")
    names = workspace.git("tag", "--list", f"{TAGS}*", *newest_last, *histories).split()
    return names[-1] if names else None


def tip(workspace: Workspace, branch: str) -> str | None:
    """Return the commit that the branch is at in the repository; None if there is no such branch."""
    try:
        return workspace.git("rev-parse", "--verify", "--quiet", f"refs/remotes/origin/{branch}^{{commit}}")
    except GitFailed:
        return None


def tree(workspace: Workspace, base: str, paths: Iterable[str]) -> str:
    """Write the git tree of the commit `base` with these paths as they are in the workspace, and return its hash."""
    index = {"GIT_INDEX_FILE": str(workspace.folder / ".git/index-of-results")}
    workspace.git("read-tree", base, settings=index)
    tracked = workspace.git("ls-files", "-z", "--", *paths, settings=index).split("\0")
    there = [path for path in paths if (workspace.folder / path).exists() or _covers(path, tracked)]
    workspace.git("--literal-pathspecs", "add", "--all", "--force", "--", *there, settings=index)
    return workspace.git("write-tree", settings=index)


def differ(workspace: Workspace, tree: str, commit: str, paths: Iterable[str]) -> bool:
    """Return whether these files and folders differ between the tree and the commit."""
    return bool(workspace.git("--literal-pathspecs", "diff-tree", "-r", "--name-only", commit, tree, "--", *paths))


def commit(workspace: Workspace, repository: Path | None, base: str, branch: str, tree: str, message: str) -> str:
    """Commit a tree on top of the retrained commit and of what the branch holds; return the new commit.

    The branch only ever moves forward: where it is not part of the retrained commit's history, the new commit
    joins the two. Where the tree is that of the retrained commit, and the branch can move there, that commit
    is given and none made.
    """
    old = tip(workspace, branch)
    if old is None or _contains(workspace, base, old):
        if tree == workspace.git("rev-parse", f"{base}^{{tree}}"):
            return base
        parents = [base]
    else:
        parents = [old] if _contains(workspace, old, base) else [old, base]
    words = [word for parent in parents for word in ("-p", parent)]
    return workspace.git(*identity(repository), "commit-tree", tree, *words, "-F", "-", text=message)


def next_tag(existing: Iterable[str], today: datetime.date) -> str:
    """Return the tag after those that exist: `accepted/YYYY-MM-DD-N`, N counting from 1 each day."""
    matches = [_TAG.fullmatch(name) for name in existing]
    numbers = [int(match[2]) for match in matches if match and match[1] == today.isoformat()]
    return f"{TAGS}{today.isoformat()}-{max(numbers, default=0) + 1}"


def deliver(workspace: Workspace, repository: Path | None, commit: str, branch: str, message: str) -> str:
    """Tag the commit, push branch and tag to the repository, both or neither, and return the tag.

    Raises:
        ClipnError: the repository did not take them.
    """
    existing = workspace.git("tag", "--list", f"{TAGS}*").split()
    tag = next_tag(existing, datetime.datetime.now(datetime.UTC).date())
    workspace.git(*identity(repository), "tag", "--annotate", "-F", "-", tag, commit, text=message)
    _push(workspace.folder, workspace.source, commit, branch, tag)
    return tag


def push_git(workspace: Workspace, repository: Path | None, remote: str, commit: str, branch: str, tag: str) -> None:
    """Push branch and tag on to a git remote.

    Raises:
        ClipnError: it did not take them.
    """
    _push(repository or workspace.folder, remote, commit, branch, tag)


def push_data(workspace: Workspace, log: Log) -> None:
    """Push what DVC tracks here to its default remote, and what it needs to restore stages elsewhere.

    Raises:
        ClipnError: it could not.
    """
    if workspace.run([*DVC, "push", "--run-cache"], log):
        raise ClipnError(
            "dvc push failed, the lines above say why, so nothing was committed; the results are kept in "
            f"{workspace.folder}: mend the remote and run again"
        )


def identity(repository: Path | None) -> list[str]:
    """Return git's options for the committer: the repository's own identity, or a default one."""
    words = []
    for key, otherwise in _IDENTITY.items():
        try:
            value = git(repository or Path.cwd(), "config", "--get", key)
        except GitFailed:
            value = otherwise
        words += ["-c", f"{key}={value}"]
    return words


def table(rows: Iterable[Row]) -> list[dict[str, str]]:
    """Return the gate's rows in percent, for people."""
    return [
        {
            "benchmark": row.key.benchmark,
            "method": row.key.method,
            "metric": row.key.metric,
            "accepted": percent(row.accepted),
            "new": percent(row.new),
            "difference": "" if row.difference is None else f"{100 * row.difference:+.2f}",
            "tolerance": percent(row.tolerance),
            "verdict": row.verdict.value + (f" ({row.note})" if row.note else ""),
        }
        for row in rows
    ]


def markdown(rows: Sequence[Row]) -> str:
    """Return the same as a table that can also be read in `git log`."""
    cells = [COLUMNS, *(tuple(row[column] for column in COLUMNS) for row in table(rows))]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def percent(value: float | None) -> str:
    """Return a share in percent with two decimals; nothing for None."""
    return "" if value is None else f"{100 * value:.2f}"


def _push(folder: Path, to: str, commit: str, branch: str, tag: str) -> None:
    refs = (f"{commit}:refs/heads/{branch}", f"refs/tags/{tag}")
    try:
        git(folder, "push", "--quiet", "--atomic", "--end-of-options", to, *refs)
    except GitFailed as error:
        raise ClipnError(
            f"{to} did not take the branch {branch!r} and the tag {tag!r}: {error}\n"
            f"Mend that and run again, or do it by hand: git -C {folder} push --atomic {to} {' '.join(refs)}"
        ) from error


def _contains(workspace: Workspace, commit: str, ancestor: str) -> bool:
    """Return whether `ancestor` is in the history of `commit`, or is that commit."""
    return workspace.git("merge-base", "--all", commit, ancestor).split() == [ancestor]


def _covers(path: str, tracked: Iterable[str]) -> bool:
    return any(name == path or name.startswith(f"{path}/") for name in tracked)

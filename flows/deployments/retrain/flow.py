"""The flow itself, and its command line."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from prefect import flow, get_run_logger, runtime
from prefect.client.schemas.objects import State
from prefect.exceptions import ParameterTypeError
from prefect.states import Completed, Failed

from clipn import paths
from clipn.errors import ClipnError, InvalidParams
from clipn.evaluation.gate import Limits, Row
from flows.deployments.retrain import comparison, publish, reproduction
from flows.deployments.retrain.comparison import Reference
from flows.deployments.retrain.git import GitFailed, top
from flows.deployments.retrain.workspace import Workspace, locked
from flows.runtime.server import selection

PROFILE = (sys.executable, "-m", "clipn", "profile")
PARAMS = "params.yaml"
WORKSPACE = paths.WORK / "retrain"
LIMITS = Limits()
YAML = ("overrides", "limits", "accept_anyway")
"""Parameters that are YAML on the command line; the others are plain text."""


class GateFailed(ClipnError):
    """The new results are worse than the accepted ones by more than the noise."""


@dataclass(frozen=True)
class Place:
    """Where a retraining happens.

    Attributes:
        source: path or address of the repository.
        local: the repository, if it is a path.
        workspace: folder of the checkout.
    """

    source: str
    local: Path | None
    workspace: Path


def _run_name() -> str:
    parameters = runtime.flow_run.parameters
    profile = parameters.get("profile")
    composed = ["as", profile, *(parameters.get("overrides") or ())] if profile else []
    return " ".join(["retrain", parameters.get("revision", "HEAD"), *composed])


@flow(name="retrain", flow_run_name=_run_name, persist_result=False)
def retrain(
    revision: str = "HEAD",
    accepted: str | None = None,
    branch: str = "retrained",
    profile: str | None = None,
    overrides: list[str] | None = None,
    repository: str | None = None,
    workspace: str | None = None,
    push_git: str | None = None,
    limits: Limits = LIMITS,
    accept_anyway: bool = False,
) -> State[None]:
    """Run the pipeline in a clean checkout; commit and tag the results if they are no worse than the accepted ones.

    Your own checkout and branches are not touched: the repository receives one branch and one tag.

    Args:
        revision: What to retrain: a branch, a tag or a commit. Only what is committed counts.
        accepted: Tag or branch with the results to compare with. Empty: the newest tag accepted/… in the history of
            the revision or of the branch; without one, the results that the revision itself holds.
        branch: The branch that receives the results. It is made if need be, and only ever moves forward.
        profile: A profile of conf/profile to run. Empty: params.yaml as it is committed.
        overrides: Changes to the profile, such as train.epochs=3.
        repository: Path or address of the git repository. Empty: the project in which the worker runs.
        workspace: Folder of the checkout. Empty: data/work/retrain in the project. One run at a time can use it.
        push_git: Name or address of a git remote that gets branch and tag as well.
        limits: How much worse the results may be.
        accept_anyway: Commit the results even if the gate fails, after you have looked at them.
    """
    try:
        place = _place(repository, workspace)
        publish.check(place.local, branch, push_git)
        holder = f"run '{runtime.flow_run.name}' ({runtime.flow_run.id}), process {os.getpid()}"
        with locked(place.workspace, holder):
            checkout, commit, reference = _checked_out(place, revision, accepted, branch)
            if composed := _compose(checkout, profile, overrides or []):
                get_run_logger().info("%s is that of: %s", PARAMS, composed)
            remote = reproduction.run(checkout, place.local)
            rows = comparison.compare(checkout, reference, limits)
            comparison.show(checkout, reference, rows)
            results = [*checkout.pipeline().results, *([PARAMS] if composed else [])]
            tree = publish.tree(checkout, commit, results)
            if not publish.differ(checkout, tree, reference.commit, results):
                message = f"Nothing changed: the results are those of {reference.name}; nothing was committed"
            else:
                _pass_gate(checkout, reference, rows, accept_anyway)
                if remote:
                    publish.push_data(checkout, get_run_logger().info)
                text = _message(commit, reference, rows, composed)
                new = publish.commit(checkout, place.local, commit, branch, tree, text)
                tag = publish.deliver(checkout, place.local, new, branch, text)
                message = f"Accepted as {tag}: commit {new[:12]} on branch {branch!r} of {place.source}"
            if push_git is not None:
                _push_on(checkout, place.local, branch, push_git)
    except ClipnError as error:
        return Failed(message=str(error))
    get_run_logger().info(message)
    return Completed(message=message)


def _place(repository: str | None, workspace: str | None) -> Place:
    """Return repository and workspace.

    Raises:
        InvalidParams: there is no git repository.
    """
    here = top(Path.cwd())
    local: Path | None
    if repository is None:
        source, local = str(here), here
    elif ":" in repository and not Path(repository).exists():
        source, local = repository, None
    else:
        local = top(Path(repository).expanduser().absolute())
        source = str(local)
    if local is None and source != repository:
        raise InvalidParams(
            f"repository: {repository or Path.cwd()} is no git repository; name the project's folder or an address"
        )
    base = local if local is not None and (local / ".git").exists() else here or Path.cwd()
    folder = base / WORKSPACE if workspace is None else base / Path(workspace).expanduser()
    return Place(source, local, folder.resolve())


def _checked_out(place: Place, revision: str, accepted: str | None, branch: str) -> tuple[Workspace, str, Reference]:
    """Return the workspace with the revision's files, its commit, and the results to compare with."""
    log = get_run_logger().info
    workspace = Workspace(place.workspace, place.source)
    try:
        workspace.open(log)
    except GitFailed as error:
        raise InvalidParams(f"repository: {place.source} cannot be read: {error}") from error
    commit = workspace.commit(revision)
    name = accepted or publish.newest_accepted(workspace, branch, commit)
    if name is None:
        reference = Reference(commit[:12], commit, optional=True)
    else:
        reference = Reference(name, workspace.commit(name), optional=False)
    workspace.checkout(commit, None if reference.optional else reference.commit, log)
    log("Checked out %s (%s) in %s; compared with %s", revision, commit[:12], place.workspace, reference.name)
    return workspace, commit, reference


def _compose(workspace: Workspace, profile: str | None, overrides: Sequence[str]) -> str | None:
    """Write `params.yaml` of a profile; return the profile and its changes, None where the committed file stays.

    Raises:
        InvalidParams: there is no such profile or parameter, or there are changes to none.
    """
    if profile is None:
        if overrides:
            raise InvalidParams("overrides change a profile, so name the profile too, such as 'miniature'")
        return None
    lines: list[str] = []
    if workspace.run([*PROFILE, "--", profile, *overrides], lines.append):
        reason = "\n".join(lines[-10:]).removeprefix("error: ")
        raise InvalidParams(f"profile: {reason}")
    return " ".join([profile, *overrides])


def _pass_gate(workspace: Workspace, reference: Reference, rows: Sequence[Row], accept_anyway: bool) -> None:
    """Accept results that pass the gate, or that somebody accepts anyway.

    Raises:
        GateFailed: the results are worse, and nobody accepted them.
    """
    problems = comparison.problems(rows)
    if not problems:
        return
    verdict = f"worse than {reference.name} by more than the noise:\n" + "\n".join(f"  - {line}" for line in problems)
    if accept_anyway:
        get_run_logger().warning("Accepted, as you asked, although the results are %s", verdict)
        return
    raise GateFailed(
        f"the gate failed: the results are {verdict}\nNothing was committed or pushed. Look at them in "
        f"{workspace.folder}: {paths.RESULTS}, or 'dvc metrics diff {reference.commit[:12]}' there. "
        "To accept them all the same, run again with accept_anyway"
    )


def _message(commit: str, reference: Reference, rows: Sequence[Row], composed: str | None) -> str:
    """Return the message of the commit and of the tag."""
    problems = comparison.problems(rows)
    checked = sum(row.tolerance is not None for row in rows)
    if problems:
        verdict = f"Compared with {reference.name}, accepted by hand although the gate failed:"
    elif checked:
        verdict = f"Compared with {reference.name}: {checked} numbers, each within its tolerance."
    else:
        verdict = "Nothing was accepted before, so nothing was compared."
    return "\n".join(
        [
            f"Results of {commit[:12]}" + (f" as {composed}" if composed else ""),
            "",
            verdict,
            *(f"- {line}" for line in problems),
            "",
            *([publish.markdown(rows), "", "In percent, means over the seeds and the OOD sets.", ""] if rows else []),
            f"Revision: {commit}",
            f"Compared-with: {reference.commit}",
            f"Flow-run: {runtime.flow_run.name} ({runtime.flow_run.id})",
            "",
        ]
    )


def _push_on(workspace: Workspace, local: Path | None, branch: str, remote: str) -> None:
    """Push what the repository holds now to a git remote, also what an earlier run could not push."""
    workspace.fetch()
    commit = publish.tip(workspace, branch)
    tag = None if commit is None else publish.newest_accepted(workspace, branch, commit)
    if commit is not None and tag is not None:
        publish.push_git(workspace, local, remote, commit, branch, tag)
        get_run_logger().info("Pushed %s and %s to %s", branch, tag, remote)


def main() -> None:
    """Run the flow once on this machine, as the command line says; exit 1 when it fails."""
    parameters = inspect.signature(retrain.fn).parameters
    words = dict(word.partition("=")[::2] for word in sys.argv[1:])
    if not words.keys() <= parameters.keys():
        sys.exit(f"usage: python -m flows.retrain [PARAMETER=VALUE …]; a parameter is one of {', '.join(parameters)}")
    try:
        values = retrain.validate_parameters({name: _value(name, word) for name, word in words.items()})
        with selection.selected():
            state = cast(State[None], retrain(**values, return_state=True))
    except (ClipnError, ParameterTypeError) as error:
        sys.exit(f"error: {error}")
    if not state.is_completed():
        sys.exit(f"error: {state.message}")


def _value(name: str, word: str) -> Any:
    """Return a parameter's value from its text. Names stay text, since a commit's hash may read as a number.

    Raises:
        InvalidParams: it is no YAML where it has to be.
    """
    if name not in YAML:
        return word or None
    try:
        return yaml.safe_load(word)
    except yaml.YAMLError as error:
        raise InvalidParams(f"{name}: {word!r} is no YAML: {error}") from error

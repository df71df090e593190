"""The results of a checkout beside those of an accepted commit: read, judged, shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prefect import get_run_logger
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from clipn import paths
from clipn.errors import InvalidData, MissingInput
from clipn.evaluation import gate
from clipn.evaluation.gate import Limits, Means, Row, Seeds, Verdict
from flows.deployments.retrain import publish
from flows.deployments.retrain.git import GitFailed
from flows.deployments.retrain.workspace import Workspace

PARAMS = Path("params.yaml")

Read = Callable[[Path], str | None]
"""The text of one file of a commit or a checkout; None if there is no such file."""


@dataclass(frozen=True)
class Reference:
    """What the new results are compared with.

    Attributes:
        name: a tag, a branch or a commit, as people call it.
        commit: its hash.
        optional: whether it may be without results: nothing was accepted so far.
    """

    name: str
    commit: str
    optional: bool


def compare(workspace: Workspace, reference: Reference, limits: Limits) -> list[Row]:
    """Return the gate's verdict on every number.

    Raises:
        MissingInput: one side has no metrics.
        InvalidData: a file holds something else.
    """

    def committed(path: Path) -> str | None:
        with suppress(GitFailed):
            return workspace.git("show", f"{reference.commit}:{path.as_posix()}")
        return None

    def made(path: Path) -> str | None:
        file = workspace.folder / path
        return file.read_text(encoding="utf-8") if file.is_file() else None

    if committed(paths.SUMMARY) is None and reference.optional:
        before: tuple[Seeds, Means] = ({}, {})
        get_run_logger().info("Nothing was accepted so far, and %s has no results: all are new", reference.name)
    else:
        listed = workspace.git("ls-tree", "-r", "--name-only", reference.commit, "--", paths.METRICS.as_posix())
        before = _measured(committed, map(Path, listed.splitlines()), reference.name)
    there = (path.relative_to(workspace.folder) for path in (workspace.folder / paths.METRICS).glob("*/*.json"))
    after = _measured(made, there, str(workspace.folder))
    checked = gate.compare(before[0], after[0], limits)
    return checked + gate.compare_others(before[1], after[1], [row.key for row in checked])


def show(workspace: Workspace, reference: Reference, rows: Sequence[Row]) -> None:
    """Show the numbers, the report and the workspace as artifacts of the run."""
    create_table_artifact(
        key="retrain-metrics", table=publish.table(rows), description=f"Against {reference.name}, in percent"
    )
    results, report = workspace.folder / paths.RESULTS, workspace.folder / paths.REPORT
    if results.is_file():
        create_markdown_artifact(results.read_text(encoding="utf-8"), key="retrain-results")
    if report.is_file():
        create_link_artifact(report.as_uri(), link_text=str(report), key="retrain-report")
    create_link_artifact(workspace.folder.as_uri(), link_text=str(workspace.folder), key="retrain-workspace")


def problems(rows: Sequence[Row]) -> list[str]:
    """Return what fails the gate, one message for each cause."""
    present = {row.key[:length] for row in rows if row.new is not None for length in (1, 2)}
    messages = []
    for row in rows:
        if row.verdict is Verdict.WORSE and row.difference is not None:
            moved = "fell" if row.difference < 0 else "rose"
            by, before, after, most = map(publish.percent, (abs(row.difference), row.accepted, row.new, row.tolerance))
            messages.append(f"{row.key} {moved} by {by} points, from {before} to {after}; tolerance {most}")
        elif row.verdict is Verdict.MISSING:
            # One message for a benchmark or a method that is missing as a whole.
            gone = next((row.key[:length] for length in (1, 2) if row.key[:length] not in present), row.key)
            messages.append(f"{' '.join(gone)} is missing" + (f" ({row.note})" if row.note else ""))
    return list(dict.fromkeys(messages))


def _measured(read: Read, files: Iterable[Path], where: str) -> tuple[Seeds, Means]:
    """Return the metrics of a commit or a checkout; of seeds only those that its parameters name."""

    def parsed(path: Path) -> Any:
        text = read(path)
        if text is None:
            raise MissingInput(f"{where} has no {path}, so there is nothing to compare; run 'dvc repro' and commit it")
        try:
            return json.loads(text)
        except ValueError as error:
            raise InvalidData(f"{path} of {where} is not valid JSON: {error}") from error

    seeds = _seeds(read(PARAMS))
    results: dict[str, dict[str, Any]] = {}
    for path in sorted(files):
        seed = path.stem.removeprefix("seed-")
        if seed != path.stem and (seeds is None or seed in seeds):
            results.setdefault(path.parent.name, {})[seed] = parsed(path)
    return gate.seeds_of(results), gate.means_of(parsed(paths.SUMMARY))


def _seeds(params: str | None) -> set[str] | None:
    """Return `train.seeds`; None if the parameters have none. Files of seeds that are no longer trained may remain."""
    values = yaml.safe_load(params or "")
    train = values.get("train") if isinstance(values, dict) else None
    seeds = train.get("seeds") if isinstance(train, dict) else None
    return {str(seed) for seed in seeds} if isinstance(seeds, list) else None

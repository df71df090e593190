"""Results of a checkout beside those of a commit: what is read, and what is told of it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from clipn.errors import InvalidData, MissingInput
from clipn.evaluation.gate import Key, Limits, Row, Verdict
from flows.deployments.retrain import comparison
from flows.deployments.retrain.comparison import Reference
from flows.deployments.retrain.workspace import Workspace
from tests.flows import tiny_pipeline
from tests.flows.tiny_pipeline import Project

ATD = Key("b", "CLIPN-ATD", "auroc")


def seed(auroc: float) -> dict[str, Any]:
    numbers = {"auroc": auroc, "fpr95_id_interpolated": 1 - auroc}
    methods = {"CLIPN-ATD": {"average": numbers, "ood": {"near": numbers}}}
    return {"fpr_convention": "id-interpolated", "methods": methods}


def write(folder: Path, aurocs: list[float]) -> None:
    (folder / "reports/metrics/b").mkdir(parents=True, exist_ok=True)
    for number, auroc in enumerate(aurocs):
        (folder / f"reports/metrics/b/seed-{number}.json").write_text(json.dumps(seed(auroc)))
    mean = sum(aurocs) / len(aurocs)
    average = {"auroc": {"average": mean}, "fpr95_id_interpolated": {"average": 1 - mean}}
    (folder / "reports/metrics.json").write_text(json.dumps({"b": {"CLIPN-ATD": average}}))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return tiny_pipeline.make(tmp_path)


def opened(project: Project) -> tuple[Workspace, Reference]:
    space = Workspace(project.workspace, str(project.folder))
    space.open(lambda line: None)
    commit = space.commit("HEAD")
    space.checkout(commit, None, lambda line: None)
    return space, Reference("main", commit, optional=False)


def test_a_fall_beyond_the_tolerance_fails(project: Project) -> None:
    write(project.folder, [0.8, 0.802, 0.804])
    project.commit("Accepted")
    space, reference = opened(project)
    write(space.folder, [0.7, 0.702, 0.704])
    rows = comparison.compare(space, reference, Limits())
    assert {row.key.metric: row.verdict for row in rows} == {
        "auroc": Verdict.WORSE,
        "fpr95_id_interpolated": Verdict.WORSE,
    }
    first, second = comparison.problems(rows)
    assert first.startswith("b CLIPN-ATD auroc fell by 10.00 points, from 80.20 to 70.20; tolerance ")
    assert second.startswith("b CLIPN-ATD fpr95_id_interpolated rose by 10.00 points, from 19.80 to 29.80; tolerance ")


def test_seeds_that_are_not_trained_any_more_do_not_count(project: Project) -> None:
    write(project.folder, [0.8, 0.802, 0.804, 0.1])
    write(project.folder, [0.8, 0.802, 0.804])  # of seed 3 the file stays, and params.yaml names three
    project.commit("Accepted")
    space, reference = opened(project)
    rows = comparison.compare(space, reference, Limits())
    assert [row.accepted for row in rows if row.key == ATD] == [pytest.approx(0.802)]
    assert comparison.problems(rows) == []


def test_without_accepted_results_all_are_new_or_an_error(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "get_run_logger", lambda: logging.getLogger("test"))
    space, reference = opened(project)
    write(space.folder, [0.8, 0.8, 0.8])
    with pytest.raises(MissingInput, match=r"^main has no reports/metrics\.json, so there is nothing to compare"):
        comparison.compare(space, reference, Limits())
    rows = comparison.compare(space, Reference("main", reference.commit, optional=True), Limits())
    assert {row.verdict for row in rows} == {Verdict.NEW}


def test_a_file_that_is_no_json_is_named(project: Project) -> None:
    write(project.folder, [0.8, 0.8, 0.8])
    (project.folder / "reports/metrics.json").write_text("{")
    project.commit("Cut")
    space, reference = opened(project)
    with pytest.raises(InvalidData, match=r"^reports/metrics\.json of main is not valid JSON"):
        comparison.compare(space, reference, Limits())


def test_what_is_missing_as_a_whole_is_told_once() -> None:
    def row(benchmark: str, method: str, metric: str, verdict: Verdict) -> Row:
        return Row(Key(benchmark, method, metric), verdict, 0.8, None if verdict is Verdict.MISSING else 0.8, 0.01)

    rows = [
        row("gone", "MSP", "auroc", Verdict.MISSING),
        row("gone", "MSP", "fpr95", Verdict.MISSING),
        row("gone", "MCM", "auroc", Verdict.MISSING),
        row("here", "MSP", "auroc", Verdict.MISSING),
        row("here", "MSP", "fpr95", Verdict.MISSING),
        row("here", "MCM", "auroc", Verdict.MISSING),
        row("here", "MCM", "fpr95", Verdict.PASSED),
    ]
    assert comparison.problems(rows) == ["gone is missing", "here MSP is missing", "here MCM auroc is missing"]


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("train: {seeds: [0, 7]}", {"0", "7"}), ("train: {}", None), ("train: 3", None), ("[]", None), (None, None)],
)
def test_seeds_of_parameters(text: str | None, seeds: set[str] | None) -> None:
    assert comparison._seeds(text) == seeds

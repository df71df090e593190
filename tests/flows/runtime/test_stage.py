"""What every stage gets: a report, a readable run, and messages instead of tracebacks."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle
import pytest
from prefect.client.orchestration import get_client

from clipn.errors import InvalidData
from flows.runtime import stage
from flows.runtime.server import selection


@stage.stage("count")
def count(name: str, seed: int) -> dict[str, Any]:
    """Count something."""
    if name == "empty":
        raise InvalidData("the folder 'empty' holds nothing; put something in")
    if name == "defect":
        raise ZeroDivisionError("a bug")
    return {"counts": {"out": seed}, "seconds": {"reading": 0.5}}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "flows.stages.count", SimpleNamespace(run=count))
    return tmp_path


def run_as_command(*arguments: str) -> None:
    stage.command("count", arguments)


def test_a_command_converts_its_arguments_and_writes_the_report(project: Path) -> None:
    run_as_command("photos", "3")
    report = json.loads((project / "reports/stages/count-photos-3.json").read_text())
    assert report["stage"] == "count-photos-3"
    assert report["counts"] == {"out": 3}
    assert report["seconds"]["reading"] == 0.5
    assert report["seconds"]["total"] >= 0
    assert set(report["versions"]) == set(stage.PACKAGES)


def test_the_run_has_a_readable_name_and_the_tag_of_its_command() -> None:
    stage.command("count", ["named", "4"], tag="dvc repro at noon")
    with get_client(sync_client=True) as client:
        (run,) = [run for run in client.read_flow_runs() if run.name == "count-named-4"]
    assert run.tags == ["dvc repro at noon"]


def test_a_users_mistake_is_a_message_and_a_failed_run(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SystemExit, match="error: count: the folder 'empty' holds nothing"):
        run_as_command("empty", "1")
    assert "Traceback" not in caplog.text
    assert not (project / "reports").exists()
    with get_client(sync_client=True) as client:
        (run,) = [run for run in client.read_flow_runs() if run.name == "count-empty-1"]
    assert run.state_name == "Failed"


def test_a_defect_keeps_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SystemExit, match="a bug"):
        run_as_command("defect", "1")
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("arguments", [(), ("photos",), ("photos", "many"), ("photos", "3", "4")])
def test_wrong_arguments_show_the_usage(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit, match=r"usage: python -m flows count NAME SEED"):
        run_as_command(*arguments)


def test_a_stage_can_travel_to_a_ray_cluster() -> None:
    """With each task, the flow that it belongs to goes to the node."""
    for name in ("features", "set_features"):
        cloudpickle.dumps(importlib.import_module(f"flows.stages.{name}").run)


def test_a_server_that_is_configured_but_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_silence", lambda url: "refused")
    with pytest.raises(SystemExit, match=r"does not answer \(refused\); start it, or unset PREFECT_API_URL"):
        run_as_command("photos", "3")

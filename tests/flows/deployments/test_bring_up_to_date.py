"""Some stages through DVC: its record stays true, and its errors are the run's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.client.schemas.objects import State

from flows.deployments.bring_up_to_date import repro_targets

DVC_YAML = """\
stages:
  first:
    cmd: echo first >> ran && echo 1 > one.txt
    outs: [one.txt]
  second:
    cmd: echo second >> ran && cp one.txt two.txt
    deps: [one.txt]
    outs: [two.txt]
  other:
    cmd: echo other >> ran && touch other.txt
    outs: [other.txt]
  broken:
    cmd: echo broken >> ran && exit 3
    deps: [one.txt]
    outs: [never.txt]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], check=True)
    Path("dvc.yaml").write_text(DVC_YAML)
    return tmp_path


def run(*targets: str, force: bool = False) -> State[None]:
    return repro_targets(list(targets), force, return_state=True)


def ran() -> list[str]:
    names = Path("ran").read_text().split() if Path("ran").exists() else []
    Path("ran").unlink(missing_ok=True)
    return names


def test_targets_and_what_they_need_run_once(project: Path) -> None:
    state = run("second")
    assert state.is_completed()
    assert state.message == "Up to date: second"
    assert ran() == ["first", "second"]
    status = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "second"], capture_output=True, text=True, check=True, env=os.environ
    )
    assert "up to date" in status.stdout
    assert run("second").is_completed()
    assert ran() == []
    assert run("second", force=True).is_completed()
    assert ran() == ["first", "second"]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("broken", "failed to reproduce 'broken': failed to run: echo broken >> ran && exit 3"),
        ("nothing", "Stage 'nothing' not found inside 'dvc.yaml'"),
    ],
)
def test_a_stage_that_fails_or_is_none_fails_the_run_with_dvcs_reason(project: Path, target: str, reason: str) -> None:
    state = run(target)
    assert state.is_failed()
    assert str(state.message).startswith(f"dvc repro failed: {reason}")


def test_a_target_is_no_option(project: Path) -> None:
    assert run("--dry").is_failed()
    assert ran() == []

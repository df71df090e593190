"""Stages of a real `dvc repro` in one companion process, and what becomes of them when something dies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

from tests.conftest import ROOT
from tests.waiting import wait_until

SLEEPY = '''
import json, os, time
from pathlib import Path
from typing import Any

from clipn.errors import InvalidData
from flows.runtime.stage import stage


@stage("sleepy")
def run(name: str, seconds: float) -> dict[str, Any]:
    """Say who I am, then sleep."""
    if seconds < 0:
        raise InvalidData(f"{name} cannot sleep {seconds} s")
    who = {"process": os.getpid(), "companion": os.getppid(), "variable": os.environ.get("VARIABLE")}
    Path(f"{name}.json").write_text(json.dumps(who))
    print(f"{name} sleeps", flush=True)
    time.sleep(seconds)
    return {"counts": {"seconds": seconds}}
'''


class Project:
    """A DVC project whose only kind of stage sleeps, so that its companion has little to import."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment

    def write(self, **seconds: float) -> None:
        """A stage for each name."""
        stages = {
            name: f"    cmd: python -m flows sleepy {name} {value}\n    outs: [{name}.json]\n"
            for name, value in seconds.items()
        }
        text = "stages:\n" + "".join(f"  {name}:\n{body}" for name, body in stages.items())
        (self.folder / "dvc.yaml").write_text(text)

    def repro(self) -> subprocess.Popen[str]:
        """Start `dvc repro` in a session of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "dvc", "repro"],
            cwd=self.folder, env=self.environment, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def who(self, name: str) -> dict[str, Any]:
        """What a stage said of itself, once it has."""
        file = self.folder / f"{name}.json"
        wait_until(lambda: file.is_file() and file.read_text().endswith("}"))
        return json.loads(file.read_text())

    def left(self) -> list[psutil.Process]:
        """Processes of the project."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.cwd() == str(self.folder) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    shutil.copytree(ROOT / "flows", tmp_path / "flows", ignore=shutil.ignore_patterns("__pycache__", "stages"))
    (tmp_path / "flows/stages").mkdir()
    shutil.copy(ROOT / "flows/stages/__init__.py", tmp_path / "flows/stages")
    (tmp_path / "flows/stages/sleepy.py").write_text(SLEEPY)
    shutil.copy(ROOT / "prefect.toml", tmp_path)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=tmp_path, check=True)
    url = PREFECT_API_URL.value()
    assert url  # of the server of all tests
    project = Project(tmp_path, {**os.environ, "PREFECT_API_URL": url, "VARIABLE": "passed on"})
    yield project
    for process in project.left():
        process.kill()


def states() -> dict[str, str]:
    """Flow run → its state."""
    with get_client(sync_client=True) as client:
        return {run.name: str(run.state_name) for run in client.read_flow_runs() if run.name.startswith("sleepy-")}


def test_stages_are_forks_of_one_process_that_ends_with_dvc(project: Project) -> None:
    project.write(first=0, second=0.5)
    dvc = project.repro()
    first, second = project.who("first"), project.who("second")
    out = dvc.communicate(timeout=150)[0]
    assert dvc.returncode == 0, out
    assert "first sleeps" in out
    assert "second sleeps" in out
    assert first["variable"] == "passed on"
    assert first["companion"] == second["companion"] != dvc.pid
    assert first["process"] != second["process"]
    wait_until(lambda: not project.left())
    assert not list(project.folder.glob("data/work/companion/*.sock"))
    assert {"sleepy-first-0.0": "Completed", "sleepy-second-0.5": "Completed"}.items() <= states().items()


def test_a_failing_stage_fails_dvc_with_its_message(project: Project) -> None:
    project.write(third=-1)
    dvc = project.repro()
    out = dvc.communicate(timeout=150)[0]
    assert dvc.returncode != 0
    assert "error: sleepy: third cannot sleep -1.0 s" in out
    assert "Traceback" not in out
    assert states()["sleepy-third--1.0"] == "Failed"


def test_without_a_server_the_companion_starts_one_for_all_stages(project: Project) -> None:
    del project.environment["PREFECT_API_URL"]
    project.environment["PREFECT_HOME"] = str(project.folder / "home")
    project.write(fourth=0, fifth=0)
    dvc = project.repro()
    out = dvc.communicate(timeout=150)[0]
    assert dvc.returncode == 0, out
    ports = {line.split("127.0.0.1:")[1].split("/")[0] for line in out.splitlines() if "View at" in line}
    assert len(ports) == 1
    (log,) = project.folder.glob("data/work/companion/*.log")
    assert log.read_text().count("Check out the dashboard") == 1
    wait_until(lambda: not project.left())


def test_a_killed_stage_does_not_stay_running(project: Project) -> None:
    project.write(sixth=100)
    dvc = project.repro()
    os.kill(project.who("sixth")["process"], signal.SIGKILL)
    out = dvc.communicate(timeout=150)[0]
    assert dvc.returncode != 0
    assert "exited with 137" in out
    assert states()["sleepy-sixth-100.0"] == "Crashed"


def test_killing_dvc_ends_its_stage_and_leaves_no_process(project: Project) -> None:
    project.write(seventh=100)
    dvc = project.repro()
    project.who("seventh")
    dvc.kill()
    wait_until(lambda: not project.left())
    dvc.communicate()
    assert states()["sleepy-seventh-100.0"] == "Crashed"


def test_an_interrupt_ends_the_stage_in_order(project: Project) -> None:
    project.write(eighth=100)
    dvc = project.repro()
    project.who("eighth")
    os.killpg(dvc.pid, signal.SIGINT)
    out = dvc.communicate(timeout=150)[0]
    assert dvc.returncode != 0
    assert "Traceback" not in out
    wait_until(lambda: not project.left())
    assert states()["sleepy-eighth-100.0"] == "Crashed"


def test_a_killed_companion_is_an_error_of_its_stage(project: Project) -> None:
    del project.environment["PREFECT_API_URL"]  # so that it has a server, too, which must not be left
    project.environment["PREFECT_HOME"] = str(project.folder / "home")
    project.write(ninth=100)
    dvc = project.repro()
    who = project.who("ninth")
    os.kill(who["companion"], signal.SIGKILL)
    out = dvc.communicate(timeout=150)[0]
    assert dvc.returncode != 0
    assert "the process that ran sleepy ended too early" in out
    wait_until(lambda: not project.left())

"""Stages that run on real workers of other pools, which share the project's folder with `dvc repro`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Crashed, Running

from clipn.errors import ClipnError, InvalidParams
from flows.runtime import remote
from flows.runtime.server import selection
from flows.stages import STAGES
from tests.flows.runtime.companion.test_server import Project, project, states
from tests.waiting import wait_until

__all__ = ["project"]

DEPLOY = """
import os
from flows.runtime.remote import serve

for name in ("one", "two"):
    here = serve.from_source(os.getcwd(), "flows/runtime/remote.py:serve")
    here.deploy(name, work_pool_name=name, print_next_steps=False)
"""


def start_worker(project: Project, pool: str) -> subprocess.Popen[bytes]:
    """A worker that says of itself, in its environment, which one it is."""
    environment = {**project.environment, "VARIABLE": f"of worker {pool}", "PREFECT_WORKER_QUERY_SECONDS": "1"}
    with (project.folder / f"worker-{pool}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"],
            cwd=project.folder, env=environment, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip


@pytest.fixture
def shared(project: Project) -> Iterator[Project]:
    """A project whose stages are run by two workers, of the pools one and two."""
    workers = [start_worker(project, pool) for pool in ("one", "two")]
    ready = [project.folder / f"worker-{pool}.log" for pool in ("one", "two")]
    wait_until(lambda: all(" started!" in log.read_text() for log in ready))
    subprocess.run([sys.executable, "-c", DEPLOY], cwd=project.folder, env=project.environment, check=True)
    yield project
    for worker in workers:
        worker.send_signal(signal.SIGINT)
    for worker in workers:
        worker.wait(30)


def test_stages_run_where_they_are_sent(shared: Project) -> None:
    # The two stages have different names for the variable that sends them.
    sleepy = (shared.folder / "flows/stages/sleepy.py").read_text()
    (shared.folder / "flows/stages/weary.py").write_text(sleepy.replace('"sleepy"', '"weary"'))
    shared.write(first=0, second=0, third=0)
    text = (shared.folder / "dvc.yaml").read_text().replace("sleepy second", "weary second")
    (shared.folder / "dvc.yaml").write_text(text)
    shared.environment["CLIPN_DEPLOYMENTS"] = "sleepy=stage/one weary=stage/two"
    dvc = shared.repro()
    out = dvc.communicate(timeout=150)[0]
    assert dvc.returncode == 0, out
    assert "first sleeps" in out  # the log of the other process, shown here
    assert shared.who("first")["variable"] == shared.who("third")["variable"] == "of worker one"
    assert shared.who("second")["variable"] == "of worker two"
    assert not list(shared.folder.glob("data/work/elsewhere/*"))

    # What fails there fails here, with its message; what is interrupted here ends there.
    shared.write(fourth=-1)
    dvc = shared.repro()
    out = dvc.communicate(timeout=150)[0]
    assert dvc.returncode != 0
    assert "sleepy at stage/one ended as Failed: status 1: sleepy: fourth cannot sleep -1.0 s" in out
    assert "Traceback" not in out

    shared.write(fifth=100)
    dvc = shared.repro()
    sleeper = shared.who("fifth")["process"]
    os.killpg(dvc.pid, signal.SIGINT)
    out = dvc.communicate(timeout=150)[0]
    assert dvc.returncode != 0
    with pytest.raises(ProcessLookupError):
        os.kill(sleeper, 0)
    with get_client(sync_client=True) as client:
        (run,) = [run for run in client.read_flow_runs() if run.parameters.get("words", [""])[0] == "fifth"]
    assert run.state_name == "Cancelled"
    assert states()["sleepy-fifth-100.0"] == "Crashed"


def test_a_worker_that_does_not_share_the_folder_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state = remote.serve("train", ["0"], "/elsewhere", "/elsewhere/request", return_state=True)
    assert state.is_failed()
    assert "does not see /elsewhere/request: the project's folder has to be on storage" in str(state.message)


def test_a_stage_ends_when_nobody_waits_for_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    monkeypatch.setattr(remote, "GONE_SECONDS", 2)
    monkeypatch.setattr(remote, "POLL_SECONDS", 0.2)
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    request = project.folder / "request"
    request.write_text("")

    def wait_for_its_start() -> int:
        """As the one that asked does, until it is gone."""
        while not (project.folder / "sixth.json").is_file():
            request.touch()
            time.sleep(0.5)
        return int(project.who("sixth")["process"])

    with ThreadPoolExecutor(1) as pool:
        sleeping = pool.submit(wait_for_its_start)
        with pytest.raises(KeyboardInterrupt):
            remote.serve("sleepy", ["sixth", "100"], str(project.folder), str(request))
    sleeper = sleeping.result()
    wait_until(lambda: not Path(f"/proc/{sleeper}").exists())


class Answers:
    """A client whose server says that a run has these states, one after the other; an error is raised."""

    def __init__(self, *states: Any) -> None:
        self.states = list(states)

    def read_flow_run(self, run: Any) -> SimpleNamespace:
        state = self.states.pop(0)
        if isinstance(state, BaseException):
            raise state
        return SimpleNamespace(id=run, state=state)

    def read_logs(self, *args: Any, **options: Any) -> list[Any]:
        return []

    def set_flow_run_state(self, run: Any, state: Any) -> None:
        raise httpx.ConnectError("no route")


@pytest.fixture
def follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Follows a run whose server gives these answers; gives its last state."""
    monkeypatch.setattr(remote, "POLL_SECONDS", 0.2)
    monkeypatch.setattr(remote, "TOUCH_SECONDS", 0.05)
    monkeypatch.setattr(remote, "GONE_SECONDS", 0.5)
    asked: Any = SimpleNamespace(id=uuid.uuid4())

    def answers(*states: Any) -> Any:
        client: Any = Answers(*states)
        return remote._follow(client, asked, tmp_path / "request").state

    return answers


SILENT = Crashed(message=f"{selection.SILENT} for 90 s: the process or its machine is gone.")


def test_a_run_of_which_only_the_server_has_not_heard_goes_on(
    follow: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    away = httpx.ConnectError("no route")
    with remote._touching(tmp_path / "request.runs"):
        state = follow(Running(), away, *[SILENT] * 6, Completed())
    assert state.is_completed()
    assert capsys.readouterr().out.count("The server has not heard of the stage for a while, but it goes on") == 1
    assert not list(tmp_path.iterdir())
    assert follow(Running(), *[SILENT] * 6, Completed()).is_crashed()
    with remote._touching(tmp_path / "request.runs"):
        assert follow(Crashed(message="its process was killed"), Completed()).is_crashed()


def test_a_file_is_touched_whatever_its_process_waits_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "TOUCH_SECONDS", 0.05)
    monkeypatch.setattr(remote, "GONE_SECONDS", 0.5)
    file = tmp_path / "request"
    sign = remote._Sign(file)
    with remote._touching(file):
        for _ in range(4):
            time.sleep(0.2)
            assert not sign.gone()
    time.sleep(0.6)
    assert sign.gone()
    assert not file.exists()


def test_an_interrupt_ends_the_command_without_a_server(follow: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        follow(Running(), KeyboardInterrupt())
    assert "the stage ends in a minute by itself" in capsys.readouterr().out


@pytest.mark.parametrize("value", ["train", "train=gpu", "everything=stage/gpu", "train=stage/gpu,features=stage/gpu"])
def test_a_variable_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CLIPN_DEPLOYMENTS", value)
    with pytest.raises(InvalidParams, match=r"CLIPN_DEPLOYMENTS: .* is not STAGE=FLOW/DEPLOYMENT, as train=stage/gpu"):
        remote.deployment("train", STAGES)


def test_other_stages_stay_here(monkeypatch: pytest.MonkeyPatch) -> None:
    assert remote.deployment("train", STAGES) is None
    monkeypatch.setenv("CLIPN_DEPLOYMENTS", "train=stage/gpu features=stage/large")
    assert remote.deployment("train", STAGES) == "stage/gpu"
    assert remote.deployment("features", STAGES) == "stage/large"
    assert remote.deployment("report", STAGES) is None


def test_a_deployment_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert PREFECT_API_URL.value()
    with pytest.raises(ClipnError, match="CLIPN_DEPLOYMENTS: there is no deployment stage/nowhere"):
        remote.run("train", ["0"], "stage/nowhere")
    assert not list(tmp_path.glob("data/work/elsewhere/*"))


def test_workers_need_a_server_that_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "existing", lambda: None)
    with pytest.raises(ClipnError, match="workers need a Prefect server that stays: start one with make ui"):
        remote.run("train", ["0"], "stage/gpu")

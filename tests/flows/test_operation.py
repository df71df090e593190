"""Deployments as people use them: a real server, `python -m flows.ui` with its worker, runs in own processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import psutil
import pytest
from prefect.blocks.system import Secret
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling
from prefect.workers.process import ProcessWorker

from clipn.utils.processes import alive
from flows.runtime.server import provision
from tests.flows import tiny_pipeline
from tests.flows.conftest import OwnServer
from tests.waiting import wait_until

DEPLOYMENTS = """\
deployments:
  - name: tick
    entrypoint: jobs.tick
    schedules: [{slug: often, interval: 20, active: true}]
    work_pool: {name: default, job_variables: {working_dir: .}}
    pull: []
  - name: slow
    entrypoint: flows.deployments.bring_up_to_date.repro_targets
    parameters: {targets: [slow]}
    work_pool: {name: default, job_variables: {working_dir: .}}
    pull: []
  - name: retrain
    entrypoint: flows.deployments.retrain.flow.retrain
    work_pool: {name: default, job_variables: {working_dir: .}}
    pull: []
  - name: secret
    entrypoint: jobs.use
    work_pool: {name: default, job_variables: {working_dir: .}}
    pull: []
  - name: hold
    entrypoint: jobs.hold
    work_pool: {name: gpu, job_variables: {working_dir: .}}
    pull: []
"""
JOBS = """\
import os
import time
from pathlib import Path

from prefect import flow

@flow
def tick() -> None:
    Path("ticked").write_text(os.getcwd())

@flow(log_prints=True)
def use() -> None:
    Path("used").write_text(os.environ["AWS_SECRET_ACCESS_KEY"])
    print("used it")

@flow
def hold(name: str) -> None:
    Path(name).with_suffix(".partial").write_text(str(os.getpid()))
    Path(name).with_suffix(".partial").rename(name)
    time.sleep(300)
"""
DVC_YAML = """\
stages:
  slow:
    cmd: sh -c 'sleep 300 & echo $$ $! > pids.partial && mv pids.partial pids && wait'
    outs: [never]
"""
SECRET = "wJalrXUtnFEMI-of-this-test"
SILENCE = timedelta(seconds=35)
"""Longer than the shortest time between heartbeats, 30 s, and no longer than a test has to be."""


@dataclass(frozen=True)
class Operation:
    """A project with deployments on a server that also has a worker for them."""

    folder: Path
    client: SyncPrefectClient
    server: OwnServer
    ui: subprocess.Popen[bytes]

    def start(self, deployment_name: str, /, **parameters: object) -> UUID:
        deployment = self.client.read_deployment_by_name(deployment_name)
        return self.client.create_flow_run_from_deployment(deployment.id, parameters=parameters).id

    def run(self, run: UUID) -> FlowRun:
        return self.client.read_flow_run(run)

    def ends(self, run: UUID, seconds: float = 90) -> FlowRun:
        wait_until(lambda: self._final(run), seconds, f"run {run} to end")
        return self.run(run)

    def _final(self, run: UUID) -> bool:
        state = self.run(run).state
        return state is not None and state.is_final()

    def pids(self, name: str) -> list[psutil.Process]:
        """The processes that a run has written into a file."""
        path = self.folder / name
        wait_until(path.is_file, 60, f"{name} to be written")
        return [psutil.Process(int(word)) for word in path.read_text().split()]


@dataclass(frozen=True)
class Accident:
    """Two runs of one worker; the worker and the process of one of them were killed."""

    dead: UUID
    alive: UUID
    time: float


@pytest.fixture(scope="module")
def retrained(tmp_path_factory: pytest.TempPathFactory) -> tiny_pipeline.Project:
    """A project with results, and a later commit that makes them worse."""
    project = tiny_pipeline.make(tmp_path_factory.mktemp("retrained"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_SITE_CACHE_DIR", str(project.folder.parent / "site"))
        project.dvc("repro", "--quiet")
    project.commit("Results")
    project.commit("A bad idea", bias=-0.2)
    return project


@pytest.fixture(scope="module")
def operation(
    own_server: OwnServer, retrained: tiny_pipeline.Project, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operation]:
    folder = tmp_path_factory.mktemp("operation")
    (folder / "prefect.yaml").write_text(DEPLOYMENTS)
    (folder / "jobs.py").write_text(JOBS)
    (folder / "dvc.yaml").write_text(DVC_YAML)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], cwd=folder, check=True)
    environment = {
        **own_server.environment,
        **retrained.environment,
        "DVC_SITE_CACHE_DIR": str(retrained.folder.parent / "site"),
    }
    with temporary_settings({PREFECT_API_URL: own_server.url}), get_client(sync_client=True) as client:
        # Before `flows.ui`, which leaves all of it as it is.
        provision.watch_over_dead_runs(client, silence=SILENCE)
        Secret(value=SECRET).save("s3-secret", overwrite=True)
        template = ProcessWorker.get_default_base_job_template()
        reference = "{{ prefect.blocks.secret.s3-secret }}"
        template["variables"]["properties"]["env"]["default"] = {"AWS_SECRET_ACCESS_KEY": reference}
        client.create_work_pool(WorkPoolCreate(name="default", type="process", base_job_template=template))
        with (folder / "ui.log").open("w") as log:
            ui = subprocess.Popen(
                [sys.executable, "-m", "flows.ui"], cwd=folder, env=environment, stdout=log, stderr=log
            )
        try:
            said = folder / "ui.log"
            wait_until(lambda: "Ctrl-C" in said.read_text() or ui.poll() is not None, what="flows.ui to be ready")
            assert ui.poll() is None, said.read_text()
            yield Operation(folder, client, own_server, ui)
        finally:
            ui.send_signal(signal.SIGTERM)
            ui.wait(150)


@pytest.fixture(scope="module", autouse=True)
def accident(operation: Operation) -> Iterator[Accident]:
    """It happens first: it takes a while until it is noticed."""
    with (operation.folder / "doomed.log").open("w") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", "gpu", "--name", "doomed"],
            cwd=operation.folder, env=operation.server.environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    dead, alive = (operation.start("hold/hold", name=name) for name in ("dead", "alive"))
    (victim,), (survivor,) = operation.pids("dead"), operation.pids("alive")
    try:
        wait_until(lambda: {_state(operation, run) for run in (dead, alive)} == {"RUNNING"}, what="both runs to run")
        time.sleep(1)  # the first heartbeat is on its way
        for process in (worker, victim):
            os.kill(process.pid, signal.SIGKILL)
        yield Accident(dead, alive, time.monotonic())
    finally:
        worker.kill()
        worker.wait()
        survivor.kill()


def _state(operation: Operation, run: UUID) -> str:
    state = operation.run(run).state
    assert state is not None
    return state.type.value


def _slow(operation: Operation) -> tuple[UUID, list[psutil.Process]]:
    """A run of DVC under way, and its stage's processes."""
    (operation.folder / "pids").unlink(missing_ok=True)
    run = operation.start("bring-up-to-date/slow")
    processes = operation.pids("pids")
    assert len(processes) == 2
    return run, processes


def test_a_scheduled_run_fires_in_the_folder_of_its_worker(operation: Operation) -> None:
    deployment = operation.client.read_deployment_by_name("tick/tick")
    wait_until((operation.folder / "ticked").is_file, what="a scheduled run")
    assert (operation.folder / "ticked").read_text() == str(operation.folder)
    runs = [run for run in operation.client.read_flow_runs() if run.deployment_id == deployment.id]
    assert all(run.auto_scheduled for run in runs)
    operation.ends(min(runs, key=lambda run: run.expected_start_time).id)  # type: ignore[arg-type, return-value]
    (schedule,) = deployment.schedules
    operation.client.update_deployment_schedule(deployment.id, schedule.id, active=False)


def test_a_cancelled_run_ends_with_all_its_processes(operation: Operation) -> None:
    run, processes = _slow(operation)
    operation.client.set_flow_run_state(run, Cancelling(), force=True)  # what the UI's button does
    ended = operation.ends(run)
    assert ended.state is not None
    assert ended.state.is_cancelled()
    wait_until(lambda: not any(map(alive, processes)), what="the stage's processes to end")
    assert not (operation.folder / "never").exists()
    dvc = subprocess.run(
        [sys.executable, "-m", "dvc", "status"], cwd=operation.folder, capture_output=True, text=True, check=False
    )
    assert dvc.returncode == 0, "DVC's lock is still held"


def test_a_failed_gate_shows_as_failed_with_the_reason(operation: Operation, retrained: tiny_pipeline.Project) -> None:
    before = retrained.git("for-each-ref")
    ended = operation.ends(operation.start("retrain/retrain", repository=str(retrained.folder)), 90)
    assert ended.state is not None
    assert ended.state.name == "Failed"
    assert str(ended.state.message).startswith("the gate failed: the results are worse than ")
    assert retrained.git("for-each-ref") == before


def test_a_secret_reaches_the_environment_of_a_run_and_nothing_that_is_shown(operation: Operation) -> None:
    run = operation.start("use/secret")
    ended = operation.ends(run)
    assert ended.state is not None
    assert ended.state.is_completed(), ended.state.message
    assert (operation.folder / "used").read_text() == SECRET
    of_run = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run]))
    wait_until(lambda: len(operation.client.read_logs(of_run)) >= 4, what="the log to arrive")
    logs = operation.client.read_logs(of_run)
    assert any("used it" in log.message for log in logs)
    shown = [
        operation.folder / "data/work/prefect" / socket.gethostname() / "worker-default.log",
        operation.server.home / "server.log",
        # Deployments, pools, logs, events, and the block itself, encrypted.
        *operation.server.home.glob("prefect.db*"),
    ]
    assert len(shown) >= 3
    assert not [path for path in shown if SECRET.encode() in path.read_bytes()]


def test_a_run_whose_worker_and_process_were_killed_crashes_and_others_go_on(
    operation: Operation, accident: Accident
) -> None:
    left = SILENCE.total_seconds() + 60 - (time.monotonic() - accident.time)
    ended = operation.ends(accident.dead, max(left, 1))
    assert ended.state is not None
    assert ended.state.is_crashed()
    assert ended.state.message == "No sign of life for 35 s: the process or its machine is gone."
    assert _state(operation, accident.alive) == "RUNNING"


def test_the_end_of_the_command_ends_its_runs(operation: Operation) -> None:
    run, processes = _slow(operation)
    family = psutil.Process(operation.ui.pid).children(recursive=True)
    assert {process.pid for process in processes} <= {process.pid for process in family}
    operation.ui.send_signal(signal.SIGTERM)
    assert operation.ui.wait(150) == 0
    assert not any(map(alive, family))
    ended = operation.ends(run)
    assert ended.state is not None
    assert ended.state.is_crashed()

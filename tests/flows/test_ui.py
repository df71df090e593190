"""`python -m flows.ui`: everything is there, twice changes nothing, and the end leaves nothing."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.utilities.templating import apply_values

from clipn.utils.processes import alive, free_port
from flows.runtime.server import selection
from tests.flows.conftest import ROOT, OwnServer
from tests.waiting import wait_until

COMMAND = [sys.executable, "-m", "flows.ui"]


class Ui:
    """The command in a folder of its own, as on a machine that never saw it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        modules = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.environment = {
            **kept,
            "HOME": str(folder),
            "PYTHONPATH": modules,
            "PREFECT_SERVER_API_PORT": str(self.port),
        }
        for name in ("prefect.yaml", "prefect.toml"):
            shutil.copy(ROOT / name, folder)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        settings = {**self.environment, **environment}
        return subprocess.run(
            [*COMMAND, *arguments], cwd=self.folder, env=settings, capture_output=True, text=True, check=False
        )

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        said = self.folder / "said"
        with said.open("w") as output:
            process = subprocess.Popen(COMMAND, cwd=self.folder, env=self.environment, stdout=output, stderr=output)
        try:
            wait_until(lambda: "Ctrl-C" in said.read_text() or process.poll() is not None, 150, "flows.ui")
            assert process.poll() is None, said.read_text()
            yield process
        finally:
            process.terminate()
            process.wait(150)

    @contextmanager
    def client(self) -> Iterator[SyncPrefectClient]:
        with temporary_settings({PREFECT_API_URL: self.url}), get_client(sync_client=True) as client:
            yield client


@pytest.fixture
def ui(tmp_path: Path) -> Ui:
    return Ui(tmp_path)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Ui:
    """One that several tests start, so that the database is made once."""
    return Ui(tmp_path_factory.mktemp("started"))


def contents(client: SyncPrefectClient) -> dict[str, Any]:
    """Names of everything that the command makes."""
    automations = client.request("POST", "/automations/filter", json={}).json()
    return {
        "deployments": sorted((d.name, d.work_pool_name, d.work_queue_name) for d in client.read_deployments()),
        "pools": sorted((pool.name, pool.type) for pool in client.read_work_pools()),
        "limits": {
            queue: client.read_work_queue_by_name(queue, work_pool_name=pool).concurrency_limit
            for pool, queue in (("default", "retrain"), ("default", "download"), ("gpu", "gpu"))
        },
        "automations": sorted(automation["name"] for automation in automations),
        "workers": len(client.read_workers_for_work_pool("default")),
    }


def test_it_starts_all_keeps_what_was_chosen_and_leaves_nothing(started: Ui) -> None:
    ui = started
    with ui.running() as process, ui.client() as client:
        made = contents(client)
        assert made == {
            "deployments": [
                ("download", "default", "download"),
                ("evaluate", "default", "default"),
                ("gpu", "gpu", "gpu"),
                ("retrain", "default", "retrain"),
            ],
            "pools": [("default", "process"), ("gpu", "process")],
            "limits": {"retrain": 1, "download": 1, "gpu": 1},
            "automations": ["Crash runs that never started", "Crash runs that went silent"],
            "workers": 1,
        }
        retrain = client.read_deployment_by_name("retrain/retrain")
        (schedule,) = retrain.schedules
        assert not schedule.active
        assert str(ui.folder) not in retrain.model_dump_json()
        client.update_deployment_schedule(retrain.id, schedule.id, active=True)

        again = ui.run()
        assert again.returncode == 0, again.stderr
        assert "Everything runs already" in again.stdout
        assert contents(client) == made
        (schedule,) = client.read_deployment_by_name("retrain/retrain").schedules
        assert schedule.active

        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 2
        process.send_signal(signal.SIGINT)
        assert process.wait(150) == 0
        assert not list(filter(alive, family))
        assert not selection.answers(ui.url)


def test_server_and_worker_end_with_the_command_even_if_it_is_killed(started: Ui) -> None:
    with started.running() as process:
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        wait_until(lambda: not any(map(alive, family)), what="server and worker to end too")


def test_a_port_that_something_else_has(ui: Ui) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", ui.port))
        other.listen()
        refused = ui.run()
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: port {ui.port} is used by another program, or by a Prefect server")
    assert "PREFECT_SERVER_API_PORT" in refused.stderr


def test_a_port_that_is_none(ui: Ui) -> None:
    refused = ui.run(PREFECT_SERVER_API_PORT="80000")
    assert refused.stderr == "error: PREFECT_SERVER_API_PORT=80000 is no port; take one from 1024 to 65535\n"


def test_what_is_not_there_is_named(ui: Ui, own_server: OwnServer) -> None:
    unknown = ui.run("--pool", "tpu", PREFECT_API_URL=own_server.url)
    assert (
        unknown.stderr == "error: the server has no work pool 'tpu'; 'python -m flows.ui --no-worker' makes the pools\n"
    )
    absent = ui.run(PREFECT_API_URL=ui.url)
    assert absent.stderr.startswith(f"error: the Prefect server at {ui.url} does not answer (")
    alone = ui.run("--pool", "gpu")
    assert alone.stderr.startswith(
        "error: there is no Prefect server that a worker could work for; set PREFECT_API_URL"
    )
    (ui.folder / "prefect.yaml").unlink()
    assert ui.run().stderr.startswith(f"error: prefect.yaml does not exist in {ui.folder}; run this in the project's")


def test_a_deployment_that_prefect_refuses_is_shown_with_its_reason(ui: Ui, own_server: OwnServer) -> None:
    values = yaml.safe_load((ui.folder / "prefect.yaml").read_text())
    values["deployments"] = [{**values["deployments"][0], "name": "wrong", "entrypoint": "flows.nothing.here"}]
    (ui.folder / "prefect.yaml").write_text(yaml.safe_dump(values))
    refused = ui.run("--no-worker", PREFECT_API_URL=own_server.url)
    assert refused.returncode == 1
    assert "error: prefect.yaml could not be applied:\n" in refused.stderr
    assert "flows.nothing" in refused.stderr


def test_the_server_takes_the_deployments_for_a_cluster(own_server: OwnServer) -> None:
    environment = own_server.environment
    prefect = [sys.executable, "-m", "prefect", "--no-prompt"]
    template = ROOT / "deploy/kubernetes-job-template.json"
    create = [*prefect, "work-pool", "create", "kubernetes", "--type", "kubernetes", "--base-job-template", template]
    subprocess.run(create, cwd=ROOT, env=environment, check=True, capture_output=True)
    deploy = [*prefect, "deploy", "--all", "--prefect-file", "deploy/kubernetes.yaml"]
    done = subprocess.run(deploy, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with temporary_settings({PREFECT_API_URL: own_server.url}), get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("stage/kubernetes")
        retrain = client.read_deployment_by_name("retrain/kubernetes")
        pool = client.read_work_pool("kubernetes")
    variables = pool.base_job_template["variables"]["properties"]
    defaults = {name: variable["default"] for name, variable in variables.items() if "default" in variable}
    job = apply_values(pool.base_job_template["job_configuration"], {**defaults, **deployment.job_variables})
    pod = job["job_manifest"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {"memory": "64Gi", "nvidia.com/gpu": 1}
    assert container["env"] == {"CLIPN_DEVICE": "cuda"}
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "clipn"}
    # What the one sends to is what the other is.
    assert retrain.job_variables["env"]["CLIPN_DEPLOYMENTS"] == "train=stage/kubernetes"

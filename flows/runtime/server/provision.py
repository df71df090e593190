"""What this project needs on a Prefect server: work pools, automations that mark dead runs, deployments."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.workers.process import ProcessWorker

from clipn.errors import ClipnError
from flows.runtime.server import selection

DEPLOYMENTS = Path("prefect.yaml")
POOLS: dict[str, dict[str, int]] = {"default": {"retrain": 1, "download": 1}, "gpu": {"gpu": 1}}
"""Work pool → its queues → how many of a queue's runs may run at a time."""
SILENCE = timedelta(seconds=90)
"""A run counts as dead after three missed heartbeats."""
START = timedelta(minutes=15)
"""How long a run may take to start after a worker took it; a cluster may have to fetch an image."""

_ENDED = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}
_WAITS = {f"prefect.flow-run.{state}" for state in ("Paused", "Suspended")}
_HANDED_OVER = {f"prefect.flow-run.{state}" for state in ("Pending", "Submitting", "InfrastructurePending")}
_HEARTBEAT = "prefect.flow-run.heartbeat"


class ProvisioningFailed(ClipnError):
    """The Prefect server did not take the project's deployments."""


def provision(url: str, environment: dict[str, str]) -> None:
    """Add what is missing and apply `prefect.yaml`. What somebody changed in the UI stays, schedules included.

    Args:
        url: of the server's API.
        environment: of the command that applies the file.

    Raises:
        ProvisioningFailed: a deployment was refused; with what Prefect says.
    """
    with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
        for pool, queues in POOLS.items():
            _pool(client, pool, queues)
        watch_over_dead_runs(client)
        before = _schedules(client)
        _deploy({**environment, "PREFECT_API_URL": url})
        _restore_schedules(client, before)


def watch_over_dead_runs(client: SyncPrefectClient, silence: timedelta = SILENCE, start: timedelta = START) -> None:
    """Make the automations that mark runs as Crashed when their process or machine is gone, unless they exist.

    Args:
        client: of the server.
        silence: how long a running flow may send no heartbeat.
        start: how long a run may take to start.
    """
    watches = {
        "Crash runs that went silent": (
            {_HEARTBEAT},
            {_HEARTBEAT, *_ENDED, *_WAITS},
            silence,
            f"{selection.SILENT} for {silence.total_seconds():.0f} s: the process or its machine is gone.",
        ),
        "Crash runs that never started": (
            _HANDED_OVER,
            {"prefect.flow-run.Running", *_ENDED, *_WAITS},
            start,
            f"Not started {start.total_seconds():.0f} s after a worker took it: the worker is gone.",
        ),
    }
    for name, (after, expect, within, message) in watches.items():
        if client.read_automations_by_name(name):
            continue
        trigger = EventTrigger(
            after=after,
            expect=expect,
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=within,
        )
        action = ChangeFlowRunState(state=StateType.CRASHED, name=None, message=message, force=False)
        client.create_automation(
            AutomationCore(name=name, description="Made by python -m flows.ui.", trigger=trigger, actions=[action])
        )


def _pool(client: SyncPrefectClient, name: str, queues: dict[str, int]) -> None:
    template = ProcessWorker.get_default_base_job_template()
    with suppress(ObjectAlreadyExists):  # with the settings that somebody may have given it
        client.create_work_pool(WorkPoolCreate(name=name, type=ProcessWorker.type, base_job_template=template))
    for queue, limit in queues.items():
        with suppress(ObjectAlreadyExists):
            client.create_work_queue(name=queue, work_pool_name=name, concurrency_limit=limit)


def _schedules(client: SyncPrefectClient) -> dict[tuple[UUID, str | None], bool]:
    """Return deployment and schedule → whether it is switched on."""
    return {
        (deployment.id, schedule.slug): schedule.active
        for deployment in client.read_deployments()
        for schedule in deployment.schedules
    }


def _restore_schedules(client: SyncPrefectClient, before: dict[tuple[UUID, str | None], bool]) -> None:
    """Switch schedules on or off as they were before `prefect.yaml` was applied."""
    for deployment in client.read_deployments():
        for schedule in deployment.schedules:
            active = before.get((deployment.id, schedule.slug), schedule.active)
            if active != schedule.active:
                client.update_deployment_schedule(deployment.id, schedule.id, active=active)


def _deploy(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(DEPLOYMENTS)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        output = (done.stdout + done.stderr).strip().splitlines()
        raise ProvisioningFailed(f"{DEPLOYMENTS} could not be applied:\n" + "\n".join(output[-15:]))

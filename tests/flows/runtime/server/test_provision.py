"""What a Prefect server gets for this project, and what somebody changed there that stays."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client

from flows.runtime.server import provision
from flows.runtime.server.provision import ProvisioningFailed


class Client:
    """Plays a server's deployments: one with a schedule."""

    def __init__(self, active: bool) -> None:
        self.id = uuid4()
        self.schedule = SimpleNamespace(id=uuid4(), slug="nightly", active=active)
        self.updates: list[tuple[Any, Any, bool]] = []

    def read_deployments(self) -> list[Any]:
        return [SimpleNamespace(id=self.id, schedules=[self.schedule])]

    def update_deployment_schedule(self, deployment: Any, schedule: Any, active: bool) -> None:
        self.updates.append((deployment, schedule, active))


def test_pools_and_queues_are_made_once_and_stay_as_somebody_set_them() -> None:
    with get_client(sync_client=True) as client:
        provision._pool(client, "of-a-test", {"narrow": 1, "wide": 3})
        client.update_work_queue(client.read_work_queue_by_name("wide", "of-a-test").id, concurrency_limit=9)
        provision._pool(client, "of-a-test", {"narrow": 1, "wide": 3})
        queues = [client.read_work_queue_by_name(name, "of-a-test") for name in ("narrow", "wide")]
        assert client.read_work_pool("of-a-test").type == "process"
    assert [queue.concurrency_limit for queue in queues] == [1, 9]


def test_automations_that_mark_dead_runs_are_made_once() -> None:
    names = ("Crash runs that went silent", "Crash runs that never started")
    with get_client(sync_client=True) as client:
        for _ in range(2):
            provision.watch_over_dead_runs(client, timedelta(seconds=70), timedelta(seconds=80))
        automations = [client.read_automations_by_name(name) for name in names]
    assert [len(of_name) for of_name in automations] == [1, 1]
    (silent,), (never,) = automations
    assert [silent.trigger.within, never.trigger.within] == [timedelta(seconds=70), timedelta(seconds=80)]
    assert silent.actions[0].message.startswith("No sign of life for 70 s")


@pytest.mark.parametrize(("before", "after", "updates"), [(True, False, 1), (False, False, 0), (False, True, 1)])
def test_a_schedule_stays_on_or_off_as_somebody_had_it(before: bool, after: bool, updates: int) -> None:
    client: Any = Client(before)
    kept = provision._schedules(client)
    client.schedule.active = after  # as prefect.yaml says
    provision._restore_schedules(client, kept)
    assert client.updates == [(client.id, client.schedule.id, before)] * updates


def test_a_new_schedule_stays_as_the_file_says() -> None:
    client: Any = Client(False)
    provision._restore_schedules(client, {})
    assert client.updates == []


def test_a_file_that_prefect_refuses_is_an_error_with_its_last_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(command: list[str], **options: Any) -> Any:
        assert options["env"]["PREFECT_API_URL"] == "http://here/api"
        return SimpleNamespace(returncode=1, stdout="\n".join(map(str, range(20))), stderr="\nno such flow")

    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.raises(ProvisioningFailed, match=r"(?s)^prefect\.yaml could not be applied:\n6\n.*\nno such flow$"):
        provision._deploy({"PREFECT_API_URL": "http://here/api"})

"""Prefect servers for tests of flows."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from prefect.settings import PREFECT_SERVER_API_PORT, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from clipn.utils.processes import end_child, free_port
from flows.runtime.server import selection
from tests.conftest import ROOT
from tests.scored_project import scored_project
from tests.waiting import wait_until

__all__ = ["scored_project"]


@pytest.fixture(scope="session", autouse=True)
def prefect_server() -> Iterator[None]:
    # Tests do not find a server that whoever runs them has on this machine.
    nobody = free_port()
    with pytest.MonkeyPatch.context() as patch, temporary_settings({PREFECT_SERVER_API_PORT: nobody}):
        patch.setenv("PREFECT_SERVER_API_PORT", str(nobody))
        with prefect_test_harness(server_startup_timeout=120):
            yield


@dataclass(frozen=True)
class OwnServer:
    """A server as people run it.

    Attributes:
        url: of its API.
        home: its PREFECT_HOME.
        environment: of processes that use it.
    """

    url: str
    home: Path
    environment: dict[str, str]


@contextmanager
def running_server(home: Path, **settings: str) -> Iterator[OwnServer]:
    """`prefect server start` on a free loopback port, stopped at the end of the block.

    Args:
        home: its PREFECT_HOME, where server.log lies too.
        settings: further environment variables of the server and of its users.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    modules = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = {
        **kept,
        "PATH": path,
        "PYTHONPATH": modules,
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "DO_NOT_TRACK": "1",
        **settings,
    }
    log = home / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env=environment, cwd=home, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        wait_until(lambda: selection.answers(url) or process.poll() is not None, 120, "the server to start")
        assert process.poll() is None, log.read_text()
        yield OwnServer(url, home, {**environment, "PREFECT_API_URL": url})
    finally:
        end_child(process, 20)


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    """One for the tests of a module that need worker processes or other commands beside it."""
    with running_server(tmp_path_factory.mktemp("own_server")) as running:
        yield running

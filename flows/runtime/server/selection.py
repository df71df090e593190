"""Which Prefect server a stage talks to.

In this order: the configured one (PREFECT_API_URL or a Prefect profile); one that already runs on this
machine's port for it (PREFECT_SERVER_API_PORT, else 4200); one that lives exactly as long as the `dvc`
command that runs the stage. Starting a server takes several seconds, so the stages of one `dvc repro`
share theirs. What is started by hand has one of its own.
"""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import (
    PREFECT_API_SSL_CERT_FILE,
    PREFECT_API_TLS_INSECURE_SKIP_VERIFY,
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_SERVER_API_PORT,
    temporary_settings,
)
from prefect.states import Crashed

from clipn import paths
from clipn.errors import ClipnError
from clipn.utils import processes

LOGS = paths.WORK / "prefect" / socket.gethostname()
"""Logs of this machine's servers and workers; other machines may share the project's folder."""
ANSWER_SECONDS = 2
START_SECONDS = 120
STOP_SECONDS = 10
SILENT = "No sign of life"
"""Beginning of the message of a run that the server marked as Crashed since its heartbeats stopped."""


def answers(url: str) -> bool:
    """Return whether a Prefect API answers at `url`."""
    return _silence(url) is None


def existing() -> str | None:
    """Return the API address of the configured server, or of one on this machine's port for it; else None."""
    local = loopback(PREFECT_SERVER_API_PORT.value())
    return PREFECT_API_URL.value() or (local if answers(local) else None)


def require(url: str) -> None:
    """Check that a Prefect API answers at the configured address and lets this process in.

    Raises:
        ClipnError: it does not; with the reason and the way out.
    """
    full = f"{url.rstrip('/').removesuffix('/api')}/api"
    if url != full and answers(full):
        raise ClipnError(f"PREFECT_API_URL={url} is not the address of the API; that is {full}")
    if reason := _silence(url):
        raise ClipnError(f"the Prefect server at {url} does not answer ({reason}); start it, or unset PREFECT_API_URL")
    with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
        try:
            client.api_version()
        except PrefectHTTPStatusError as error:
            if error.response.status_code != httpx.codes.UNAUTHORIZED:
                raise
            raise ClipnError(
                f"the Prefect server at {url} asks for a password; PREFECT_API_AUTH_STRING has to be what "
                "PREFECT_SERVER_API_AUTH_STRING is there"
            ) from error


@contextmanager
def selected(own: str | None = None) -> Iterator[None]:
    """Run the block against a server.

    Args:
        own: address of a `dvc` command's own server; None takes an existing one, or starts one for the block.

    Raises:
        ClipnError: the configured server does not answer, or none can be started.
    """
    url = existing() if own is None else None
    if url is not None:
        require(url)
        with temporary_settings({PREFECT_API_URL: url}):
            yield
        return
    # Heartbeats are for finding runs whose machine is gone, and this server would be gone with it.
    # Each run waits for their thread, up to a second.
    with (
        _started() if own is None else nullcontext(own) as url,
        temporary_settings({PREFECT_API_URL: url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        yield


def mark_crashed(tag: str) -> None:
    """Mark the runs with this tag that are still Running as Crashed: their processes are gone."""
    condition = FlowRunFilter.model_validate({"tags": {"all_": [tag]}, "state": {"type": {"any_": ["RUNNING"]}}})
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=condition):
            client.set_flow_run_state(run.id, Crashed(message="The run's process ended early."), force=True)


class Own:
    """A server on loopback that belongs to one command.

    Args:
        log: the file to which the server's output is appended.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._start()

    def _start(self) -> None:
        # A port of its own: other runs would take this server for one that stays.
        port = processes.free_port()
        self._url = loopback(port)
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=processes.end_with_parent,
            )

    def url(self) -> str:
        """Wait until the server answers, and return its address. A server that has died is replaced.

        Raises:
            ClipnError: it does not come up.
        """
        if self._process.poll() is not None:
            self._start()
        deadline = time.monotonic() + START_SECONDS
        while not answers(self._url):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ClipnError(f"the Prefect server did not start; {self._log} says why")
            time.sleep(0.1)
        return self._url

    def stop(self) -> None:
        """End it and all its processes."""
        processes.end_child(self._process, STOP_SECONDS)


@contextmanager
def _started() -> Iterator[str]:
    log = LOGS / f"server-{os.getpid()}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    own = Own(log)
    try:
        url = own.url()
        print(f"Prefect UI: {url.removesuffix('/api')} (until this command ends)", flush=True)
        yield url
    finally:
        own.stop()


def _silence(url: str) -> str | None:
    """Return why no Prefect API answers at `url`; None if one does."""
    try:
        response = httpx.get(f"{url}/health", timeout=ANSWER_SECONDS, verify=_trust())
    except (httpx.HTTPError, OSError) as error:
        return str(error) or type(error).__name__
    if response.is_success and response.text.strip() == "true":
        return None
    return f"status {response.status_code}"


def _trust() -> ssl.SSLContext | bool:
    """Return the certificates to trust, by the same settings as Prefect's own client."""
    if PREFECT_API_TLS_INSECURE_SKIP_VERIFY.value():
        return False
    file = PREFECT_API_SSL_CERT_FILE.value()
    return ssl.create_default_context(cafile=file) if file else True


def loopback(port: int) -> str:
    """Return the API address of a server on this machine."""
    return f"http://127.0.0.1:{port}/api"

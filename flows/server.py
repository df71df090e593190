"""Which Prefect server a run talks to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from prefect.settings import PREFECT_API_URL, temporary_settings

from clipn.errors import ClipnError

DEFAULT_PORT = 4200
START_SECONDS = 120


def answers(url: str) -> bool:
    """Whether a Prefect API answers at `url`."""
    try:
        response = httpx.get(f"{url}/health", timeout=2)
    except httpx.HTTPError:
        return False
    return response.is_success and response.text.strip() == "true"


def address() -> str | None:
    """The server to use: the configured one, else one that already runs on the default port.

    Raises:
        ClipnError: a server is configured but does not answer.
    """
    configured = PREFECT_API_URL.value()
    if configured:
        if not answers(configured):
            raise ClipnError(
                f"the Prefect server at {configured} does not answer; start it, or unset PREFECT_API_URL to go without"
            )
        return configured
    local = f"http://127.0.0.1:{DEFAULT_PORT}/api"
    return local if answers(local) else None


@contextmanager
def selected() -> Iterator[None]:
    """Run the block against `address()`; without one Prefect starts a server of its own for the block."""
    try:
        url = address()
    except ClipnError as error:
        sys.exit(f"error: {error}")
    if url is None:
        yield
        return
    with temporary_settings({PREFECT_API_URL: url}):
        yield


@contextmanager
def started(log: Path) -> Iterator[str]:
    """A server that runs while the block does. Gives its API address.

    Args:
        log: file for what the server prints.

    Raises:
        ClipnError: it did not come up.
    """
    port = DEFAULT_PORT if _is_free(DEFAULT_PORT) else _free_port()
    url = f"http://127.0.0.1:{port}/api"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            _wait(process, url, log)
            yield url
        finally:
            _stop(process)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise ClipnError(f"the Prefect server did not start; see {log}")
        time.sleep(0.2)


def _stop(process: subprocess.Popen[bytes]) -> None:
    for kind in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, kind)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            continue


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

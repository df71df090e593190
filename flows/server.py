"""Which Prefect server a stage talks to.

In this order: the configured one (PREFECT_API_URL or a Prefect profile); one that already runs on the
default port; one that lives exactly as long as the `dvc` command that runs the stage. Starting a
server takes several seconds, so the stages of one `dvc repro` share theirs. A stage started by hand
leaves it to Prefect, which starts a temporary server for it.
"""

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
import psutil
from prefect.settings import PREFECT_API_URL, temporary_settings

from clipn.errors import ClipnError
from clipn.io import write_text
from flows.paths import WORK

DEFAULT_PORT = 4200
START_SECONDS = 120
FOLDER = WORK / "prefect"
"""Address and log of each `dvc` command's server, named by its process."""


def answers(url: str) -> bool:
    """Whether a Prefect API answers at `url`."""
    try:
        response = httpx.get(f"{url}/health", timeout=2)
    except httpx.HTTPError:
        return False
    return response.is_success and response.text.strip() == "true"


def address() -> str | None:
    """The API address to use, starting a server where a `dvc` command needs one; None outside of DVC.

    Raises:
        ClipnError: the configured server does not answer, or the new one does not come up.
    """
    configured = PREFECT_API_URL.value()
    if configured:
        if not answers(configured):
            raise ClipnError(
                f"the Prefect server at {configured} does not answer; start it, or unset PREFECT_API_URL to go without"
            )
        return configured
    local = _url(DEFAULT_PORT)
    if answers(local):
        return local
    dvc = _dvc_process()
    return _server_of(dvc) if dvc else None


@contextmanager
def selected() -> Iterator[None]:
    """Run the block against `address()`."""
    try:
        url = address()
    except ClipnError as error:
        sys.exit(f"error: {error}")
    if url is None:
        yield
        return
    with temporary_settings({PREFECT_API_URL: url}):
        yield


def _dvc_process() -> psutil.Process | None:
    """The `dvc` command above this process, if there is one."""
    for process in psutil.Process().parents():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if any(Path(word).name == "dvc" for word in words[:3]):
            return process
    return None


def _server_of(dvc: psutil.Process) -> str:
    file = FOLDER / f"{dvc.pid}.url"
    if file.is_file() and answers(file.read_text(encoding="utf-8")):
        return file.read_text(encoding="utf-8")
    # Not the default port: other runs would take this server for one that stays.
    port = _free_port()
    url, log = _url(port), FOLDER / f"{dvc.pid}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "flows.server", str(dvc.pid), str(port)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # an interrupt of the stage must not take the server from the next one
        )
    deadline = time.monotonic() + START_SECONDS
    while not answers(url):
        if keeper.poll() is not None or time.monotonic() > deadline:
            raise ClipnError(f"the Prefect server did not start; {log} says why")
        time.sleep(0.2)
    write_text(file, url)
    print(f"Prefect UI: {url.removesuffix('/api')} (until dvc ends)", flush=True)
    return url


def keep(owner: int, port: int) -> None:
    """Run a server on loopback for as long as the process `owner` lives."""
    process = psutil.Process(owner)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, start_new_session=True)
    try:
        while server.poll() is None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.5)
    except psutil.NoSuchProcess:
        pass
    finally:
        (FOLDER / f"{owner}.url").unlink(missing_ok=True)
        _stop(server)


def _stop(process: subprocess.Popen[bytes]) -> None:
    for kind in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, kind)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            continue


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}/api"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    keep(int(sys.argv[1]), int(sys.argv[2]))

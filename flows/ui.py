"""The Prefect UI with everything behind it: a server, the project's deployments, a worker that runs them.

python -m flows.ui [--no-worker | --pool NAME]
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import yaml
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_API_PORT, temporary_settings

from clipn.errors import ClipnError
from clipn.utils import processes
from flows.runtime.server import provision, selection

START_SECONDS = 180
"""A slow machine migrates a new database in about a minute."""
PATIENCE_SECONDS = 120
"""How long runs may take to end after SIGTERM; a trainer writes a checkpoint."""
STOP_SECONDS = 20
"""The same for a server, and for a worker without runs."""
CHECK_SECONDS = 10
"""Between two requests to the server."""


class UiFailed(ClipnError):
    """The server or a worker cannot be started or ended by itself."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command until it is interrupted or nothing is left to wait for."""
    parser = argparse.ArgumentParser(prog="python -m flows.ui", description="Prefect server, deployments and worker.")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--no-worker", action="store_true", help="runs wait until a worker takes them")
    only.add_argument("--pool", help="start only a worker for this pool, such as gpu; server and deployments stay")
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a script's background would ignore the first
        signal.signal(number, _interrupt)
    try:
        with ExitStack() as stack:
            _run(stack, options.pool, not options.no_worker)
    except KeyboardInterrupt:
        print("Ended.")
    except ClipnError as error:
        sys.exit(f"error: {error}")


def _run(stack: ExitStack, pool: str | None, with_worker: bool) -> None:
    """Start what is missing, print how to use it, and wait."""
    if not provision.DEPLOYMENTS.is_file():
        raise UiFailed(f"{provision.DEPLOYMENTS} does not exist in {Path.cwd()}; run this in the project's folder")
    started: dict[Path, subprocess.Popen[bytes]] = {}
    url = _running()
    if url is not None:
        print(f"Using the Prefect server at {url}.", flush=True)
    elif pool is not None:
        raise UiFailed("there is no Prefect server that a worker could work for; set PREFECT_API_URL to its address")
    else:
        url = _start_server(stack, started)
    if pool is None:
        print("Applying prefect.yaml …", flush=True)
        provision.provision(url, environment())
    if with_worker:
        _start_worker(stack, started, url, pool or "default")
    if pool is None:
        print(_help(url), flush=True)
    if not started:
        return print("Everything runs already.")
    print(f"Logs: {', '.join(map(str, started))}\nCtrl-C ends what was started here.", flush=True)
    _wait(started, url)


def environment() -> dict[str, str]:
    """Return the environment of every process started here: this Python first, as stages call `python`."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"}


def _running() -> str | None:
    """Return the address of the server to use, if there is one.

    Raises:
        ClipnError: the configured one does not answer, or something else has the port.
    """
    configured: str | None = PREFECT_API_URL.value()
    if configured is not None:
        selection.require(configured)
        return configured
    port = PREFECT_SERVER_API_PORT.value()
    if not 0 < port < 2**16:
        raise UiFailed(f"PREFECT_SERVER_API_PORT={port} is no port; take one from 1024 to 65535")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)):
            return None
    url = selection.loopback(port)
    if not selection.answers(url):
        raise UiFailed(
            f"port {port} is used by another program, or by a Prefect server that is still starting; "
            "choose another port with PREFECT_SERVER_API_PORT, or try again"
        )
    return url


def _start_server(stack: ExitStack, started: dict[Path, subprocess.Popen[bytes]]) -> str:
    port = PREFECT_SERVER_API_PORT.value()
    url, log = selection.loopback(port), selection.LOGS / "server.log"
    print("Starting the Prefect server (the first start makes its database, up to a minute) …", flush=True)
    command = ["server", "start", "--host", "127.0.0.1", "--port", str(port)]
    process = stack.enter_context(_child(command, log, environment()))
    started[log] = process
    _until(lambda: selection.answers(url), process, log)
    return url


def _start_worker(stack: ExitStack, started: dict[Path, subprocess.Popen[bytes]], url: str, pool: str) -> None:
    """Start this folder's worker of a pool on this machine, unless it runs."""
    log = selection.LOGS / f"worker-{pool}.log"
    name = f"{socket.gethostname()} {Path.cwd().name}"
    with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
        try:
            client.read_work_pool(pool)
        except ObjectNotFound as error:
            raise UiFailed(
                f"the server has no work pool {pool!r}; 'python -m flows.ui --no-worker' makes the pools"
            ) from error
        selection.LOGS.mkdir(parents=True, exist_ok=True)
        lock = stack.enter_context((selection.LOGS / f"worker-{pool}.lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"A worker of this folder for pool {pool} runs already on this machine.", flush=True)
            return
        print(f"Starting a worker for pool {pool} …", flush=True)
        command = ["worker", "start", "--pool", pool, "--name", name]
        process = stack.enter_context(_child(command, log, {**environment(), "PREFECT_API_URL": url}))
        stack.callback(_end_runs, process)
        started[log] = process
        _until(lambda: b"started!" in log.read_bytes(), process, log)


def _help(url: str) -> str:
    """Return what people can do next."""
    ui = url.removesuffix("/api")
    names = [entry["name"] for entry in yaml.safe_load(provision.DEPLOYMENTS.read_text())["deployments"]]
    return f"""
Prefect UI: {ui}
  Deployments ({", ".join(names)}): {ui}/deployments
  Retrain now:      open 'retrain' there and choose Run, or
                    PREFECT_API_URL={url} prefect deployment run retrain/retrain
  Retrain nightly:  open 'retrain' there and switch its schedule on
"""


def _wait(started: dict[Path, subprocess.Popen[bytes]], url: str) -> None:
    """Wait until one of the processes ends, which none should; say when the server is away, and when it is back."""
    answers, due = True, time.monotonic() + CHECK_SECONDS
    while True:
        if time.monotonic() > due:
            now, due = selection.answers(url), time.monotonic() + CHECK_SECONDS
            if now != answers:
                print(f"The Prefect server at {url} " + ("answers again" if now else "does not answer"), flush=True)
            answers = now
        for log, process in started.items():
            if process.poll() is not None:
                raise UiFailed(f"{log.stem} ended (exit status {process.returncode}); {log} says why")
        time.sleep(0.5)


def _until(ready: Any, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise UiFailed(f"{log.stem} did not start; {log} says why")
        time.sleep(0.2)


@contextmanager
def _child(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A `prefect` command; it and all processes below it have ended when the block ends."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches this process alone, which ends them in order
            preexec_fn=processes.end_with_parent,
        )
    try:
        yield process
    finally:
        processes.end_child(process, STOP_SECONDS)


def _end_runs(worker: subprocess.Popen[bytes]) -> None:
    """Ask a worker's runs to end, and wait: at its own end it would give them too little time for a checkpoint."""
    with suppress(psutil.NoSuchProcess):
        if runs := psutil.Process(worker.pid).children():
            print(f"Ending {len(runs)} run(s); training writes a checkpoint first …", flush=True)
            processes.end(runs, PATIENCE_SECONDS)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()

"""Hand the stages of a `dvc` command to that command's companion process, where they start without delay.

A stage needs several seconds to import what it works with. So the first stage of a `dvc` command starts a
companion (`flows.runtime.companion.server`) that imports everything once, and each stage is a fork of it. This side is
what DVC runs: it imports next to nothing, passes on its terminal, folder, environment and signals, and
ends as the stage ends.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil

from clipn import paths
from clipn.errors import ClipnError

FOLDER = paths.WORK / "companion"
"""Socket and log of each `dvc` command's companion, named by the command's process."""
START_SECONDS = 60
LENGTH_BYTES = 8
STREAMS = (0, 1, 2)
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def dvc_command() -> int | None:
    """Return the process number of the `dvc` command above this process, if there is one."""
    for process in psutil.Process().parents():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if any(Path(word).name == "dvc" for word in words[:3]):
            return process.pid
    return None


def socket_of(dvc: int) -> Path:
    """Return the socket of a `dvc` command's companion; relative, since addresses of sockets have to be short."""
    return FOLDER / f"{dvc}.sock"


def log_of(dvc: int) -> Path:
    """Return the log with what the companion and its Prefect server print."""
    return FOLDER / f"{dvc}.log"


def run(dvc: int, name: str, words: Sequence[str]) -> int:
    """Run a stage in the companion of a `dvc` command, wait for it, and return its exit status.

    Raises:
        ClipnError: the companion does not start, or ends before the stage.
    """
    with _connected(dvc) as connection, _forwarding(connection):
        request = {"name": name, "words": list(words), "folder": str(Path.cwd()), "environment": dict(os.environ)}
        body = json.dumps(request).encode()
        socket.send_fds(connection, [len(body).to_bytes(LENGTH_BYTES, "big")], STREAMS)
        connection.sendall(body)
        answer = connection.recv(LENGTH_BYTES, socket.MSG_WAITALL)
    if len(answer) < LENGTH_BYTES:
        raise ClipnError(f"the process that ran {name} ended too early; {log_of(dvc)} may say why")
    return int.from_bytes(answer, "big", signed=True)


@contextmanager
def _connected(dvc: int) -> Iterator[socket.socket]:
    """Yield a connection to the companion, which is started if need be."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(socket_of(dvc)))
        except (FileNotFoundError, ConnectionRefusedError):
            _start(dvc, connection)
        yield connection


def _start(dvc: int, connection: socket.socket) -> None:
    path, log = socket_of(dvc), log_of(dvc)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # of an earlier command with the same process number
    with log.open("wb") as output:
        companion = subprocess.Popen(
            [sys.executable, "-m", "flows.runtime.companion.server", str(dvc)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # an interrupt of one stage must not take it from the next one
        )
    deadline = time.monotonic() + START_SECONDS
    while companion.poll() is None and time.monotonic() < deadline:
        try:
            # It listens before it imports anything, so this wait is short; the answer takes longer.
            return connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            time.sleep(0.02)
    raise ClipnError(f"the process that runs the stages did not start; {log} says why")


@contextmanager
def _forwarding(connection: socket.socket) -> Iterator[None]:
    """Pass signals on to the stage, whose end then ends this process."""

    def forward(number: int, frame: FrameType | None) -> None:
        connection.sendall(bytes([number]))

    before = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

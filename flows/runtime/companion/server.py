"""The process beside a `dvc` command: its Prefect server, and a warm interpreter whose forks are its stages.

python -m flows.runtime.companion.server DVC

It lives exactly as long as the `dvc` command. A stage that loses the command, or whose own process dies,
does not stay "Running" in Prefect.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess
from typing import Any

import psutil

from clipn.errors import ClipnError
from clipn.utils import processes
from flows.runtime.companion.client import LENGTH_BYTES, STREAMS, log_of, socket_of
from flows.stages import STAGES

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 100
"""How long a stage may take to end after an interrupt; longer than a trainer may."""

FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Request:
    """A stage to run, as the process that DVC started would run it.

    Attributes:
        name, words: the stage and its arguments.
        folder, environment: of the process that asks.
        streams: its standard input, output and error, as file descriptors of this process.
    """

    name: str
    words: Sequence[str]
    folder: str
    environment: Mapping[str, str]
    streams: Sequence[int]

    @classmethod
    def read(cls, connection: socket.socket) -> Request | None:
        """Read a request; None if the other side is gone already."""
        head, streams, _, _ = socket.recv_fds(connection, LENGTH_BYTES, len(STREAMS))
        body = connection.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL) if head else b""
        if not body:
            return None
        return cls(**json.loads(body), streams=streams)


class Companion:
    """What the stages of one `dvc` command share.

    Args:
        dvc: the command's process number.
    """

    def __init__(self, dvc: int) -> None:
        self._dvc = psutil.Process(dvc)
        self._announced = False
        self._tag = f"dvc repro {time.strftime('%Y-%m-%d %H:%M:%S')} ({dvc})"
        self._path = socket_of(dvc)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen()
        # Imported after the socket is there, so that the first stage knows that it will be answered.
        selection = importlib.import_module("flows.runtime.server.selection")
        self._server = selection.Own(log_of(dvc)) if selection.existing() is None else None
        for name in STAGES:
            importlib.import_module(f"flows.stages.{name}")

    def serve(self) -> None:
        """Run stages until the command has ended."""
        try:
            while processes.alive(self._dvc):
                if wait([self._listener], POLL_SECONDS):
                    connection, _ = self._listener.accept()
                    with connection:
                        self._answer(connection)
        finally:
            self._path.unlink(missing_ok=True)
            if self._server:
                self._server.stop()

    def _answer(self, connection: socket.socket) -> None:
        request = Request.read(connection)
        if request is None:
            return
        try:
            url = self._server.url() if self._server else None
        except ClipnError as error:
            os.write(request.streams[2], f"error: {error}\n".encode())
            connection.sendall((1).to_bytes(LENGTH_BYTES, "big"))
            return
        if url and not self._announced:
            self._announced = True
            os.write(request.streams[1], f"Prefect UI: {url.removesuffix('/api')} (until dvc ends)\n".encode())
        # The fork closes these: a socket that it held open would hide the end of this process from the other side.
        process = FORK.Process(target=_stage, args=(request, url, self._tag, [self._listener, connection]))
        process.start()
        for stream in request.streams:
            os.close(stream)
        self._watch(process, connection)
        code = process.exitcode
        assert code is not None
        if code < 0:
            forget = FORK.Process(target=_forget, args=(url, self._tag))
            forget.start()
            forget.join()
        with suppress(OSError):  # nobody may be waiting for it any more
            connection.sendall((128 - code if code < 0 else code).to_bytes(LENGTH_BYTES, "big"))

    def _watch(self, process: ForkProcess, connection: socket.socket) -> None:
        """Wait for the end of a stage; pass on signals, and end it if nobody waits for it any more."""
        deadline: float | None = None
        listening: list[Any] = [connection]
        while process.is_alive():
            ready = wait([process.sentinel, *listening], POLL_SECONDS)
            if connection in ready:
                signals = connection.recv(1)
                if signals:
                    _signal(process, signals[0])
                else:
                    listening.clear()
            if deadline is None and (not listening or not processes.alive(self._dvc)):
                _signal(process, signal.SIGINT)
                deadline = time.monotonic() + PATIENCE_SECONDS
            if deadline is not None and time.monotonic() > deadline:
                _signal(process, signal.SIGKILL)
        process.join()


def _signal(process: ForkProcess, number: int) -> None:
    assert process.pid is not None
    with suppress(ProcessLookupError):  # it may just have ended
        os.kill(process.pid, number)


def _stage(request: Request, url: str | None, tag: str, sockets: Sequence[socket.socket]) -> None:
    """Run a stage in the fork, which takes over streams, folder and environment of the process that DVC started."""
    os.setsid()
    for inherited in sockets:
        inherited.close()
    for target, stream in zip(STREAMS, request.streams, strict=True):
        os.dup2(stream, target)
        os.close(stream)
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from prefect.logging.configuration import setup_logging

    from flows.runtime import stage

    companion = multiprocessing.parent_process()
    assert companion is not None
    processes.at_parents_end(lambda: _interrupt(stage.forsaken if url else None), companion.join)
    setup_logging(incremental=False)  # the terminal's colours and width are this process's own
    stage.command(request.name, request.words, url, tag)


def _interrupt(forsaken: threading.Event | None) -> None:
    """End this stage in order; with the companion its server is gone, if it had one of its own."""
    if forsaken is not None:
        forsaken.set()
    os.kill(os.getpid(), signal.SIGINT)


def _forget(url: str | None, tag: str) -> None:
    """Mark the runs of dead stages as Crashed. This runs in another fork, since Prefect's client starts threads."""
    from flows.runtime.server import selection

    with selection.selected(url):
        selection.mark_crashed(tag)


if __name__ == "__main__":
    Companion(int(sys.argv[1])).serve()

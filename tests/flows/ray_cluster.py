"""A Ray cluster of several nodes on this machine: real processes of `ray start`, ended with the tests."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

import psutil

from tests.waiting import wait_until

START_SECONDS = 90
READY = "This command will now block forever"


class Node:
    """One node, of one CPU.

    Args:
        options: further words for `ray start`.
        log: what it prints.
        before: words before the command, such as a program that starts it in another namespace.
    """

    def __init__(self, *options: str, log: Path, before: tuple[str, ...] = ()) -> None:
        # Ray takes a node's first CPUs for its own processes, too; a small store is enough for paths.
        common = ("--num-cpus=1", "--object-store-memory=100000000", "--disable-usage-stats", "--block")
        ray = Path(sys.executable).with_name("ray")
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*before, str(ray), "start", *options, *common],
                cwd="/",  # as far from the project as can be
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "PREFECT_"))},
            )
        deadline = time.monotonic() + START_SECONDS
        while READY not in log.read_text():
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)

    def runs(self, word: str) -> bool:
        """Whether it has a process with this word in its command; that of a Ray worker is the task that it runs."""
        for process in self._raylet().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if word in " ".join(process.cmdline()).split():
                    return True
        return False

    def kill(self) -> None:
        """As a power cut: SIGKILL to all of the node, the training processes that its workers started included."""
        for process in [*self._raylet().children(recursive=True), self._raylet()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.kill()
        self._process.wait()

    def kill_raylet(self) -> None:
        """SIGKILL to the process that makes it a node; its workers see that for themselves."""
        self._raylet().kill()

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def _raylet(self) -> psutil.Process:
        (raylet,) = [p for p in psutil.Process(self._process.pid).children() if p.name() == "raylet"]
        return raylet


class LocalCluster:
    """A head node and others that can be added and killed."""

    def __enter__(self) -> LocalCluster:
        self._folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # names of sockets have to be short
        port, client_port = free_ports(2)
        self.address = f"127.0.0.1:{port}"
        self._nodes: list[Node] = []
        options = (f"--port={port}", f"--ray-client-server-port={client_port}", f"--temp-dir={self._folder / 'ray'}")
        try:
            self.head = self._start("--head", "--include-dashboard=false", *options)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in reversed(self._nodes):
            node.stop()
        wait_until(lambda: not self.processes(), what="the cluster's processes to end")
        shutil.rmtree(self._folder)

    def add(self, before: tuple[str, ...] = ()) -> Node:
        return self._start(f"--address={self.address}", before=before)

    def processes(self) -> list[psutil.Process]:
        """Whatever runs for this cluster, seen by its folder in the command or the environment."""
        found = []
        for process in psutil.process_iter():
            try:
                if any(str(self._folder) in word for word in (*process.cmdline(), *process.environ().values())):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def _start(self, *options: str, before: tuple[str, ...] = ()) -> Node:
        node = Node(*options, log=self._folder / f"node-{len(self._nodes)}.log", before=before)
        self._nodes.append(node)
        return node


def free_ports(count: int) -> list[int]:
    """Below those that the system gives away, since Ray's other processes take theirs from there before all listen."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(20_000, 30_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("", port))
            found.append(port)
    return found

"""A process of `clipn train` on a node of a Ray cluster, and where such processes are put."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil
import ray

from clipn.errors import InvalidParams
from clipn.utils import processes
from flows.ray.cluster import Node, Share

INTERFACE = "GLOO_SOCKET_IFNAME"
"""Without it Gloo takes the address of the host's name, which is one of loopback in Debian's /etc/hosts."""


@dataclass(frozen=True)
class Seat:
    """What Ray gave one process.

    Attributes:
        node: Ray's name of the node.
        address: of that node, for the other processes.
        gpus: as CUDA_VISIBLE_DEVICES names them; none on a CPU.
        free_port: of that node.
        interface: the network interface with that address, if it is known.
    """

    node: str
    address: str
    gpus: tuple[str, ...]
    free_port: int
    interface: str | None = None


@dataclass(frozen=True)
class Output:
    """What a process has written since the last poll.

    Attributes:
        code: its exit status; None while it runs.
        lines: of its standard error.
    """

    code: int | None
    lines: list[str]


@ray.remote
class Process:
    """An actor that starts one training process and reports on it. When the actor ends, that process ends too."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._lines: list[str] = []

    def seat(self) -> Seat:
        """Return what Ray gave this process."""
        context = ray.get_runtime_context()
        gpus = tuple(map(str, context.get_accelerator_ids().get("GPU", ())))
        address = ray.util.get_node_ip_address()
        interface = os.environ.get(INTERFACE) or interface_of(address)
        return Seat(context.get_node_id(), address, gpus, processes.free_port(""), interface)

    def start(self, words: Sequence[str], folder: str, variables: Mapping[str, str]) -> None:
        """Start `clipn train` with these words, in this folder and with these variables besides the node's own."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "clipn", "train", "--quiet", "--end-with-parent", *words],
            cwd=folder,
            stdin=subprocess.PIPE,  # its end tells training that this process is gone
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, **variables},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def poll(self) -> Output:
        """Return what the process has written since the last call, and its exit status if it has ended."""
        assert self._process is not None
        assert self._reader is not None
        code = self._process.poll()
        if code is not None:
            self._reader.join(timeout=5)
        lines, self._lines = self._lines, []
        return Output(code, lines)

    def signal(self, number: int) -> None:
        """Send a signal, if training has begun and not ended: SIGTERM asks for a checkpoint and the end."""
        if self._process is None or self._process.poll() is not None:
            return
        if number == signal.SIGKILL:
            processes.kill_group(self._process)
        else:
            self._process.send_signal(number)

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._lines.append(line.rstrip("\n"))


def interface_of(address: str) -> str | None:
    """Return the network interface of this machine that has an address."""
    for name, entries in psutil.net_if_addrs().items():
        if address in {entry.address for entry in entries}:
            return name
    return None


def share_of(nodes: Sequence[Node], processes: int, device: str) -> Share:
    """Return the largest equal share of the cluster of which it has one for each process.

    Raises:
        InvalidParams: the cluster has too few GPUs or CPUs.
    """
    gpus = 1 if device == "cuda" else 0
    for cpus in range(max(node.cpus for node in nodes), 0, -1):
        share = Share(cpus, gpus)
        if sum(map(share.fits, nodes)) >= processes:
            return share
    raise InvalidParams(
        f"CLIPN_PROCESSES={processes}, but the Ray cluster has room for {room(nodes, device)}: each process takes a CPU"
        f"{' and a GPU' if gpus else ''}"
    )


def room(nodes: Sequence[Node], device: str) -> int:
    """Return how many processes the nodes hold at most."""
    return sum(map(Share(1, 1 if device == "cuda" else 0).fits, nodes))


def environments(seats: Sequence[Seat], cpus: int) -> list[dict[str, str]]:
    """Return the variables by which the processes find each other, as torchrun sets them, in the order of seats.

    All processes of a node see all GPUs that these have, so that they can exchange data without the CPU.
    """
    of_processes = []
    for rank, seat in enumerate(seats):
        together = [other for other in seats if other.node == seat.node]
        variables = {
            "RANK": str(rank),
            "LOCAL_RANK": str(together.index(seat)),
            "WORLD_SIZE": str(len(seats)),
            "MASTER_ADDR": seats[0].address,
            "MASTER_PORT": str(seats[0].free_port),
            "OMP_NUM_THREADS": str(cpus),
        }
        if seat.interface:
            variables[INTERFACE] = seat.interface
        if seat.gpus:
            variables["CUDA_VISIBLE_DEVICES"] = ",".join(gpu for other in together for gpu in other.gpus)
        of_processes.append(variables)
    return of_processes

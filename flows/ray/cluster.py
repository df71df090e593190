"""The Ray cluster that RAY_ADDRESS names, if it names one. Without it nothing of Ray is imported.

The nodes of the cluster share the project's folder with this machine, under the same path: stages hand
them paths, not content. Every node is checked for that before any work.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipn.errors import ClipnError, InvalidParams
from clipn.paths import WORK
from clipn.utils.files import write_text

VARIABLE = "RAY_ADDRESS"
PROBE_SECONDS = 60
"""How long a node may take to answer; its first process has to start in this time."""
DOUBT_SECONDS = 3.0
"""How long Ray may take to notice everywhere that a node is gone."""
CODE = Path(__file__).parent.parent.parent
"""The folder that holds this package, in a run of the pipeline the project's folder."""
PACKAGES = ("img2dataset", "open_clip", "prefect", "pyarrow", "torch")
"""What every node needs besides Ray, by the names that are imported."""


@dataclass(frozen=True)
class Node:
    """A machine of the cluster, or what Ray takes for one.

    Attributes:
        id: Ray's own.
        name: host name and address.
        host: host name alone.
        cpus, gpus: in all, whether free or not.
    """

    id: str
    name: str
    host: str
    cpus: int
    gpus: int


@dataclass(frozen=True)
class Share:
    """What one task or process takes of a node."""

    cpus: int
    gpus: int = 0

    def fits(self, node: Node) -> int:
        """Return how many of them a node holds."""
        counts = [node.cpus // self.cpus] if self.cpus else []
        return min([*counts, *([node.gpus // self.gpus] if self.gpus else [])])


def address() -> str | None:
    """Return the cluster's address; None where work stays on this machine.

    Raises:
        InvalidParams: it is none of HOST:PORT and auto.
        ClipnError: Ray is not installed.
    """
    value = os.environ.get(VARIABLE)
    if not value:
        return None
    _require_packages()
    host, _, port = value.rpartition(":")
    if value != "auto" and not (host and port.isdigit() and "/" not in host):
        raise InvalidParams(
            f"{VARIABLE}={value} is not HOST:PORT of the cluster's head node (or 'auto' for the cluster that this "
            "machine belongs to); other kinds of address, such as ray://, are not supported. Let this machine join "
            "the cluster with 'ray start --address=HOST:PORT', or unset the variable to work on this machine alone"
        )
    return value


@contextmanager
def connected(variables: Mapping[str, str] | None = None, to_reach: Sequence[str] = ()) -> Iterator[list[Node]]:
    """Join the cluster for the block, and yield its nodes. At the end of the block its work there is stopped.

    Args:
        variables: of the environment of each process on the cluster.
        to_reach: http addresses that every node has to reach.

    Raises:
        InvalidParams: the address is none, or nothing that can be used answers there.
        ClipnError: Ray is not installed, or a node cannot take part; names it.
    """
    where = address()
    assert where is not None
    _require_answer(where)
    join(where, variables or {})
    import ray

    try:
        yield _probed(nodes(), to_reach)
    finally:
        ray.shutdown()


def join(where: str, variables: Mapping[str, str], hook: str | None = None, *, show_output: bool = False) -> None:
    """Connect this process to the cluster until `ray.shutdown` or its end.

    Args:
        where: as `address` gives it.
        variables: of the environment of each process on the cluster.
        hook: `MODULE.FUNCTION` that each of those calls first.
        show_output: whether this process prints what those print.

    Raises:
        InvalidParams: the cluster does not take this process.
    """
    # Before the import, which reads them. Equal lines of output stay as many as they are.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    environment: dict[str, Any] = {"env_vars": {"PYTHONPATH": str(CODE), **variables}}
    if hook is not None:
        environment["worker_process_setup_hook"] = hook
    with _own_signals():
        try:
            ray.init(
                where,
                runtime_env=environment,
                log_to_driver=show_output,
                logging_level=logging.ERROR,
                namespace="clipn",
            )
        except (RuntimeError, ConnectionError, ValueError) as error:
            raise InvalidParams(
                f"{VARIABLE}={where}: {_first_line(error)} This machine has to be a node of that cluster, with the "
                "same versions of Python and Ray: start Ray here with 'ray start --address=HOST:PORT'"
            ) from error


def nodes() -> list[Node]:
    """Return the nodes that are alive and have CPUs or GPUs, sorted by name. Call this within `connected`."""
    import ray

    alive = []
    for entry in ray.nodes():
        resources = entry["Resources"]
        cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
        if entry["Alive"] and (cpus or gpus):
            host = entry["NodeManagerHostname"]
            name = f"{host} ({entry['NodeManagerAddress']}, {entry['NodeID'][:8]})"
            alive.append(Node(entry["NodeID"], name, host, cpus, gpus))
    return sorted(alive, key=lambda node: (node.name, node.id))


def device(members: Sequence[Node]) -> str:
    """Return CLIPN_DEVICE, else `cuda` where the cluster has GPUs, else `cpu`.

    Raises:
        InvalidParams: a GPU is asked for, but there is none.
    """
    gpus = any(node.gpus for node in members)
    name = os.environ.get("CLIPN_DEVICE") or ("cuda" if gpus else "cpu")
    if name not in ("cpu", "cuda") or (name == "cuda" and not gpus):
        raise InvalidParams(
            f"CLIPN_DEVICE={name} cannot be used: on a Ray cluster it is cpu, or cuda where Ray knows of GPUs "
            f"(this one has {sum(node.gpus for node in members)})"
        )
    return name


def elsewhere(members: Sequence[Node]) -> list[Node]:
    """Return the nodes that are on other hosts than this process."""
    return [node for node in members if node.host != socket.gethostname()]


class Lost:
    """Tells which nodes went away.

    Args:
        members: the nodes at the start.
    """

    def __init__(self, members: Sequence[Node]) -> None:
        self._names = {node.id: node.name for node in members}

    def names(self) -> list[str]:
        """Return the names of the nodes that went away since the last call."""
        alive = {node.id for node in nodes()}
        gone = [key for key in self._names if key not in alive]
        return [self._names.pop(key) for key in gone]


def _require_packages() -> None:
    missing = [name for name in ("ray", "prefect_ray") if importlib.util.find_spec(name) is None]
    if missing:
        raise ClipnError(
            f"{VARIABLE} is set, but the package {missing[0].replace('_', '-')} is not installed: "
            f"pip install 'clipn[ray]', or unset {VARIABLE} to work on this machine alone"
        )


def _require_answer(where: str) -> None:
    """Ray itself would wait a minute for a cluster that is not there, and then end the process."""
    if where == "auto":
        return
    host, _, port = where.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise InvalidParams(
            f"{VARIABLE}={where}: nothing answers there ({error}); start the cluster with "
            f"'ray start --head --port={port}', or unset {VARIABLE} to work on this machine alone"
        ) from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself when it connects; it stays with whoever had it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _probed(members: Sequence[Node], to_reach: Sequence[str]) -> list[Node]:
    """Check that every node can take part, and return those that are still alive."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    marker = WORK / f".cluster-{uuid.uuid4().hex}"
    write_text(marker, "")
    try:
        ask = ray.remote(num_cpus=0, max_retries=0)(_question(marker.absolute(), to_reach))
        refs = {
            ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(): node
            for node in members
        }
        ray.wait(list(refs), num_returns=len(refs), timeout=PROBE_SECONDS)
        answers = [(node, _answer(ref)) for ref, node in refs.items()]
    finally:
        marker.unlink()
    alive = {node.id for node in nodes()}
    problems = [f"node {node.name} {problem}" for node, problem in answers if problem and node.id in alive]
    if problems:
        raise ClipnError(
            f"the Ray cluster at {address()} cannot be used: {'; '.join(problems)}. Mend or stop that node, or "
            f"unset {VARIABLE} to work on this machine alone"
        )
    return [node for node in members if node.id in alive]


def _answer(ref: Any) -> str | None:
    import ray

    try:
        problem: str | None = ray.get(ref, timeout=0)
        return problem
    except ray.exceptions.GetTimeoutError:
        return f"does not answer within {PROBE_SECONDS} s"
    except ray.exceptions.RayError as error:
        time.sleep(DOUBT_SECONDS)
        return f"cannot run a task: {_first_line(error)}"


def _question(marker: Path, to_reach: Sequence[str]) -> Callable[[], str | None]:
    """Return the function that checks a node. It is pickled as a whole, so the node needs no file of this project."""
    from prefect.settings import PREFECT_API_SSL_CERT_FILE  # img2dataset's process imports this module without Prefect

    needed = {str(Path.cwd()): str(marker), str(CODE): __file__}
    packages = PACKAGES
    certificates: str | None = PREFECT_API_SSL_CERT_FILE.value()  # which tasks take too, with other settings

    def problem() -> str | None:
        import importlib.util
        import pathlib
        import ssl
        import urllib.request

        for folder, file in needed.items():
            if not pathlib.Path(file).is_file():
                return f"does not see the folder {folder}; put it on storage that all nodes share, under this path"
        lacking = [name for name in packages if importlib.util.find_spec(name) is None]
        if lacking:
            return f"lacks {', '.join(lacking)}; start Ray there from an environment like the one here"
        for url in to_reach:
            try:
                secure = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=certificates))
                urllib.request.build_opener(urllib.request.ProxyHandler({}), secure).open(url, timeout=10).close()
            except OSError as error:
                return f"does not reach {url} ({error}); see PREFECT_API_URL in docs/ray.md"
        return None

    return problem


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

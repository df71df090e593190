"""Training on a Ray cluster: as many processes as it has GPUs, or as CLIPN_PROCESSES says.

Each is the same `clipn train` that torchrun starts on one machine. A step needs all of them, so a lost node
stops all; they start again on what is left of the cluster, from the last checkpoint.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from prefect import get_run_logger
from ray.exceptions import GetTimeoutError, RayActorError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from clipn.errors import ClipnError
from flows.ray import cluster
from flows.ray.cluster import Node
from flows.runtime import machine
from flows.training.ray_process import Look, Process, Seat, environments, room, share_of
from flows.training.trainer import PATIENCE_SECONDS, failure

LOSSES = 3
"""How often training starts again; without nodes that come and go it ends well or badly before."""
ANSWER_SECONDS = 60
"""How long the process beside a training process may take to answer; it does nothing else."""
SURVIVORS_SECONDS = 10
"""What the others get to end after a node was lost: their step cannot end without it."""
SAY_SECONDS = 10.0


class Lost(Exception):
    """A process of the training group is gone with its node."""


class RayTrainer:
    """Training under way on a cluster.

    Attributes:
        device: where processes compute.
        processes: how many there are now; less than at the start after the loss of a node, if need be.

    Args:
        words: of `clipn train`, without `--device`.
        batch_size: which the processes have to divide evenly.
    """

    def __init__(self, words: Sequence[str], batch_size: int) -> None:
        self._words, self._batch_size = words, batch_size
        self._log: Any = get_run_logger()
        self._actors: list[Any] = []
        self._group: PlacementGroup | None = None
        self._looks: list[Look] = []
        self._said: list[str] = []
        self._losses = 0
        nodes = cluster.nodes()
        self._nodes = cluster.Lost(nodes)
        self.device = cluster.device(nodes)
        self.processes = _wanted(nodes, self.device)

    def start(self) -> None:
        """Place and start the processes; waits until the cluster has room for them.

        Raises:
            ClipnError: nodes are lost again and again.
        """
        while True:
            try:
                self._place()
                return
            except Lost as error:
                self._give_up_nodes(str(error))

    def running(self) -> bool:
        """Whether training goes on; a lost node is seen here, and training starts again without it.

        Raises:
            ClipnError: as `start`, or no node is left that could go on.
        """
        try:
            self._look()
            codes = {look.code for look in self._looks}
            if codes <= {None, 0}:
                return None in codes
            time.sleep(cluster.DOUBT_SECONDS)  # a lost node may be its reason
            self._look()
            return False
        except Lost as error:
            self._give_up_nodes(str(error))
            self.start()
            return True

    def check(self) -> None:
        """Say whether training ended well.

        Raises:
            ClipnError: it failed; with what it said.
        """
        for look in self._looks:
            if look.code:
                raise failure(self._said, look.code)

    def stop(self, patience: float = PATIENCE_SECONDS) -> None:
        """Ask training to end, wait, make it end if it does not, and leave the cluster's room to others."""
        if any(look.code for look in self._looks):
            patience = SURVIVORS_SECONDS
        end = time.monotonic() + patience
        left = self._actors
        _tell(left, signal.SIGTERM)
        while left := [actor for actor in left if self._still_runs(actor)]:
            if time.monotonic() > end:
                _tell(left, signal.SIGKILL)
                break
            time.sleep(0.1)
        for actor in self._actors:
            ray.kill(actor)
        self._actors = []
        if self._group is not None:
            remove_placement_group(self._group)
            self._group = None

    def _place(self) -> None:
        nodes = cluster.nodes()
        share = share_of(nodes, self.processes, self.device)
        bundle = {"CPU": share.cpus, **({"GPU": share.gpus} if share.gpus else {})}
        self._group = placement_group([bundle] * self.processes, strategy="PACK")
        say = time.monotonic() + SAY_SECONDS
        while not self._group.wait(1):
            if sum(map(share.fits, cluster.nodes())) < self.processes:
                raise Lost("a node went away before training began")
            if time.monotonic() > say:
                self._log.info("Waiting for room on the Ray cluster: %d times %s", self.processes, bundle)
                say = time.monotonic() + 6 * SAY_SECONDS
        self._actors = [
            Process.options(  # type: ignore[attr-defined]
                num_cpus=share.cpus,
                num_gpus=share.gpus,
                scheduling_strategy=PlacementGroupSchedulingStrategy(self._group, index),
            ).remote()
            for index in range(self.processes)
        ]
        seats: list[Seat] = _answers([actor.seat.remote() for actor in self._actors])
        order = sorted(range(self.processes), key=lambda i: (seats[i].node, seats[i].gpus))
        seats, self._actors = [seats[i] for i in order], [self._actors[i] for i in order]
        self._log.info(
            "Training on %d nodes of a Ray cluster: processes %d, for each CPUs %d, GPUs %d",
            len({seat.node for seat in seats}), self.processes, share.cpus, share.gpus,
        )  # fmt: skip
        words = [*self._words, "--device", self.device]
        self._said, self._looks = [], []
        starts = zip(self._actors, environments(seats, share.cpus), strict=True)
        _answers([actor.start.remote(words, str(Path.cwd()), variables) for actor, variables in starts])

    def _give_up_nodes(self, reason: str) -> None:
        """After a loss: stop what is left, and see with how many processes training can go on."""
        self._losses += 1
        if self._losses > LOSSES:
            raise ClipnError(
                f"training lost processes of its group {self._losses} times, the last time so: {reason}; "
                "run again to go on from the last checkpoint"
            )
        self.stop(SURVIVORS_SECONDS)
        time.sleep(cluster.DOUBT_SECONDS)
        self.processes = possible(cluster.nodes(), self.processes, self.device, self._batch_size)
        self._log.warning(
            "Lost %s; training starts again from its last checkpoint with %d processes",
            ", ".join(f"node {name}" for name in self._nodes.names()) or "a training process", self.processes,
        )  # fmt: skip

    def _look(self) -> None:
        self._looks = _answers([actor.look.remote() for actor in self._actors])
        for look in self._looks:
            self._relay(look)

    def _still_runs(self, actor: Any) -> bool:
        try:
            look: Look = ray.get(actor.look.remote(), timeout=SURVIVORS_SECONDS)
        except (RayActorError, GetTimeoutError):
            return False
        self._relay(look)
        return look.code is None

    def _relay(self, look: Look) -> None:
        for line in look.lines:
            self._said.append(line)
            sys.stderr.write(line + "\n")


def possible(nodes: Sequence[Node], processes: int, device: str, batch_size: int) -> int:
    """How many of `processes` the nodes still hold and a batch can be divided by.

    Raises:
        ClipnError: none.
    """
    for count in range(processes, 0, -1):
        if batch_size % count == 0 and room(nodes, device) >= count:
            return count
    raise ClipnError("no node is left in the Ray cluster that could train; run again to go on from the last checkpoint")


def _wanted(nodes: Sequence[Node], device: str) -> int:
    """CLIPN_PROCESSES, else one for each GPU of the cluster, else one."""
    if os.environ.get("CLIPN_PROCESSES"):
        return machine.processes(device)
    return sum(node.gpus for node in nodes) if device == "cuda" else 1


def _answers(asked: list[Any]) -> list[Any]:
    """What actors answer; they do so at once, whatever their training process does."""
    try:
        return ray.get(asked, timeout=ANSWER_SECONDS)
    except (RayActorError, GetTimeoutError) as error:
        raise Lost(str(error).strip().splitlines()[0]) from error


def _tell(actors: Sequence[Any], number: int) -> None:
    """Send a signal to training processes; those whose node is gone need none."""
    ray.wait([actor.signal.remote(number) for actor in actors], num_returns=len(actors), timeout=SURVIVORS_SECONDS)


@contextmanager
def started(words: Sequence[str], batch_size: int) -> Iterator[RayTrainer]:
    """Start training on the cluster; whatever happens here, no process is left when the block ends."""
    with cluster.connected():
        trainer = RayTrainer(words, batch_size)
        try:
            trainer.start()
            yield trainer
        finally:
            trainer.stop()

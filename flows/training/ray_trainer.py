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
from flows.training.ray_process import Output, Process, Seat, environments, room, share_of
from flows.training.trainer import PATIENCE_SECONDS, failure

LOSSES = 3
"""How often training starts again before it fails."""
ANSWER_SECONDS = 60
"""How long the process beside a training process may take to answer; it does nothing else."""
SURVIVORS_SECONDS = 10
"""How long the others may take to end after a node was lost: they wait in a step for its process."""
LOG_SECONDS = 10.0


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
        self._outputs: list[Output] = []
        self._lines: list[str] = []
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
        """Return whether training goes on. If a node was lost, training starts again without it.

        Raises:
            ClipnError: as `start`, or no node is left that could go on.
        """
        try:
            self._poll()
            codes = {output.code for output in self._outputs}
            if codes <= {None, 0}:
                return None in codes
            time.sleep(cluster.DOUBT_SECONDS)  # a lost node may be its reason
            self._poll()
            return False
        except Lost as error:
            self._give_up_nodes(str(error))
            self.start()
            return True

    def check(self) -> None:
        """Check that training ended well.

        Raises:
            ClipnError: it failed; with its own message.
        """
        for output in self._outputs:
            if output.code:
                raise failure(self._lines, output.code)

    def stop(self, patience: float = PATIENCE_SECONDS) -> None:
        """Ask training to end, wait, kill what does not end, and free the resources of the cluster."""
        if any(output.code for output in self._outputs):
            patience = SURVIVORS_SECONDS
        end = time.monotonic() + patience
        running = self._actors
        _send(running, signal.SIGTERM)
        while running := [actor for actor in running if self._still_runs(actor)]:
            if time.monotonic() > end:
                _send(running, signal.SIGKILL)
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
        due = time.monotonic() + LOG_SECONDS
        while not self._group.wait(1):
            if sum(map(share.fits, cluster.nodes())) < self.processes:
                raise Lost("a node went away before training began")
            if time.monotonic() > due:
                self._log.info("Waiting for room on the Ray cluster: %d times %s", self.processes, bundle)
                due = time.monotonic() + 6 * LOG_SECONDS
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
        self._lines, self._outputs = [], []
        starts = zip(self._actors, environments(seats, share.cpus), strict=True)
        _answers([actor.start.remote(words, str(Path.cwd()), variables) for actor, variables in starts])

    def _give_up_nodes(self, reason: str) -> None:
        """Stop all processes after a loss, and count how many the remaining nodes hold."""
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

    def _poll(self) -> None:
        self._outputs = _answers([actor.poll.remote() for actor in self._actors])
        for output in self._outputs:
            self._relay(output)

    def _still_runs(self, actor: Any) -> bool:
        try:
            output: Output = ray.get(actor.poll.remote(), timeout=SURVIVORS_SECONDS)
        except (RayActorError, GetTimeoutError):
            return False
        self._relay(output)
        return output.code is None

    def _relay(self, output: Output) -> None:
        for line in output.lines:
            self._lines.append(line)
            sys.stderr.write(line + "\n")


def possible(nodes: Sequence[Node], processes: int, device: str, batch_size: int) -> int:
    """Return the largest number up to `processes` that the nodes hold and that divides a batch evenly.

    Raises:
        ClipnError: there is no such number.
    """
    for count in range(processes, 0, -1):
        if batch_size % count == 0 and room(nodes, device) >= count:
            return count
    raise ClipnError("no node is left in the Ray cluster that could train; run again to go on from the last checkpoint")


def _wanted(nodes: Sequence[Node], device: str) -> int:
    """Return CLIPN_PROCESSES, else one for each GPU of the cluster, else 1."""
    if os.environ.get("CLIPN_PROCESSES"):
        return machine.processes(device)
    return sum(node.gpus for node in nodes) if device == "cuda" else 1


def _answers(refs: list[Any]) -> list[Any]:
    """Return what actors answer. They do so at once, whatever their training process does."""
    try:
        return ray.get(refs, timeout=ANSWER_SECONDS)
    except (RayActorError, GetTimeoutError) as error:
        raise Lost(str(error).strip().splitlines()[0]) from error


def _send(actors: Sequence[Any], number: int) -> None:
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

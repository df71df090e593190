"""Data parallel training: N processes with B/N pairs each make the step that one process with B makes.

The loss compares all images with all captions of a batch, so features are gathered from all processes
and every process computes the whole loss. Its gradient reaches only the process's own features, and
what the processes then add up is the gradient of the one loss: nothing has to travel back through the
gathering. The loss costs B²·D once more on every process, little beside the encoder's share.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from clipn.errors import InvalidParams

PATIENCE = timedelta(minutes=10)
"""How long a process waits for the others before it gives up."""


@dataclass(frozen=True)
class Group:
    """The processes that train together.

    Attributes:
        rank: of this process, 0 … size - 1; rank 0 alone writes files.
        size: number of processes.
        device: where this process computes.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share(self, batch_size: int) -> int:
        """Return how many pairs of a batch one process takes.

        Raises:
            InvalidParams: the batch cannot be divided evenly.
        """
        if batch_size % self.size:
            raise InvalidParams(
                f"train.batch_size is {batch_size}, which {self.size} processes cannot divide evenly; "
                f"take a multiple of {self.size}, or another number of processes (CLIPN_PROCESSES)"
            )
        return batch_size // self.size

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return `module` with its gradients averaged over the processes while they are computed."""
        if self.size == 1:
            return module
        # Without device_ids, so that token ids stay on the CPU, where the encoder wants them.
        return nn.parallel.DistributedDataParallel(module, broadcast_buffers=False, gradient_as_bucket_view=True)

    def gather(self, features: Tensor) -> Tensor:
        """Gather the features [B/N, D] of all processes, [B, D] by rank. Gradient flows to this one's own part."""
        if self.size == 1:
            return features
        parts = [torch.empty_like(features) for _ in range(self.size)]
        dist.all_gather(parts, features.detach().contiguous())
        parts[self.rank] = features
        return torch.cat(parts)

    def once(self, value: Tensor) -> Tensor:
        """Return `value`. Its gradient, of which every process has the whole, counts once in their sum."""
        return value if self.size == 1 else value / self.size + value.detach() * (1 - 1 / self.size)

    def any(self, value: bool) -> bool:
        """Return whether `value` is true on any process."""
        if self.size == 1:
            return value
        flag = torch.tensor(float(value))  # on the CPU, so that nobody waits for a GPU
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag)

    def agree(self, value: Any) -> Any:
        """Return rank 0's `value` on all processes."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
        return values[0]


@contextmanager
def joined(device: str) -> Iterator[Group]:
    """Join the group that torchrun started this process in, or make a group of one.

    Args:
        device: `cpu` or `cuda`; with several processes on GPUs each takes the one of its local rank.

    Raises:
        InvalidParams: more processes than GPUs.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Group(0, 1, torch.device(device))
        return
    place = torch.device(device)
    if place.type == "cuda":
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise InvalidParams(f"process {local} has no GPU: there are {torch.cuda.device_count()}")
        place = torch.device("cuda", local)
        torch.cuda.set_device(place)
    dist.init_process_group("cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Group(dist.get_rank(), size, place)
    finally:
        dist.destroy_process_group()

"""Feature shards on a Ray cluster: one Prefect task per tar, on whichever node has room."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import torch
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_ray import RayTaskRunner
from prefect_ray.context import remote_options

from clipn.config import FeaturesParams
from clipn.errors import ClipnError, InvalidParams
from clipn.features.shards import ShardReport, ShardTask
from clipn.features.store import FeatureMeta
from clipn.models import backbone
from clipn.models.backbone import Backbone
from flows.features.shard import encode_one
from flows.ray import cluster
from flows.ray.cluster import Node, Share
from flows.runtime import machine
from flows.runtime.progress import StageProgress

POLL_SECONDS = 2.0
"""Between two checks of which shards are done and which nodes are there."""
RESTARTS = 3
"""How often a shard is made again because its node or process was lost."""


@task(task_run_name="{name}", cache_policy=NO_CACHE, retries=1, retry_delay_seconds=2, persist_result=False)
def encode(
    name: str, shard: ShardTask, folder: Path, meta: FeatureMeta, params: FeaturesParams, device: str, workers: int
) -> Any:
    """Make one feature shard on the node where this runs."""
    torch.set_num_threads(workers)
    return encode_one(name, shard, _tower(folder, meta.backbone, device), meta, params, workers)


def encode_all(
    tasks: Sequence[ShardTask], folder: Path, meta: FeatureMeta, params: FeaturesParams
) -> tuple[list[ShardReport], str]:
    """Make all shards on the cluster; return their reports, in the order of `tasks`, and the device.

    Args:
        tasks: paths in them may be relative to the current folder.
        folder: the backbone's.
        meta: of the features.
        params: as in `clipn.features.shards.encode_shard`.

    Raises:
        ClipnError: the cluster cannot be used or lost all nodes that could do it, or a shard failed.
    """
    with _known_server() as server, cluster.connected(to_reach=[f"{server}/health"]) as nodes:
        device = cluster.device(nodes)
        share = share_of(nodes, device)
        get_run_logger().info(
            "%d shards on a Ray cluster of %d nodes, %d at a time",
            len(tasks),
            len(nodes),
            min(len(tasks), sum(map(share.fits, nodes))),
        )
        common = {"folder": folder.absolute(), "meta": meta, "params": params, "device": device, "workers": share.cpus}
        resources = {"num_cpus": share.cpus, "num_gpus": share.gpus, "max_retries": RESTARTS}
        # The flow's own runner stays what it is; this one finds Ray connected and leaves it so.
        with RayTaskRunner() as runner, remote_options(**resources):
            futures = [
                runner.submit(encode, {"name": shard.out.stem, "shard": _absolute(shard), **common}) for shard in tasks
            ]
            _wait({future.wrapped_future: len(shard.entries) for future, shard in zip(futures, tasks, strict=True)},
                  share, nodes)  # fmt: skip
            return [future.result() for future in futures], device


def share_of(nodes: Sequence[Node], device: str) -> Share:
    """Return what one shard takes: a GPU and its part of the cores, or CLIPN_WORKERS cores, else one core.

    Raises:
        InvalidParams: no node has as much.
    """
    if device == "cuda":
        default, gpus = max(1, min(node.cpus // node.gpus for node in nodes if node.gpus)), 1
    else:
        default, gpus = 1, 0
    share = Share(machine.workers() if os.environ.get("CLIPN_WORKERS") else default, gpus)
    if not any(map(share.fits, nodes)):
        largest = max((node.cpus for node in nodes if node.gpus >= gpus), default=0)
        raise InvalidParams(
            f"no node of the Ray cluster has {share.cpus} CPUs{' beside a GPU' if gpus else ''}; the largest has "
            f"{largest}. Set CLIPN_WORKERS to at most that"
        )
    return share


def _wait(refs: dict[Any, int], share: Share, nodes: Sequence[Node]) -> None:
    """Wait for all tasks, or for the first that failed; the end of the connection stops the others.

    Args:
        refs: of the task runs' final states, each with its number of images.
        share: of one task.
        nodes: at the start.
    """
    progress, lost = StageProgress("images"), cluster.Lost(nodes)
    pending, done, total = list(refs), 0, sum(refs.values())
    checked = time.monotonic()
    while pending:
        ready, pending = ray.wait(pending, timeout=POLL_SECONDS)
        for ref in ready:
            try:
                state = ray.get(ref)
            except ray.exceptions.RayTaskError:
                raise  # a defect, with its traceback
            except ray.exceptions.RayError as error:
                raise ClipnError(
                    f"a shard was lost {RESTARTS + 1} times with the process that made it, the last time so: "
                    f"{str(error).strip().splitlines()[0]}; out of memory? CLIPN_WORKERS makes fewer at a time"
                ) from error
            if not state.is_completed():
                raise ClipnError(str(state.message))
            done += refs[ref]
            progress(done, total)
        if time.monotonic() - checked > POLL_SECONDS:
            checked = time.monotonic()
            for name in lost.names():
                get_run_logger().warning("Node %s is gone; its shards are made again on the others", name)
            if not any(map(share.fits, cluster.nodes())):
                raise ClipnError("no node is left in the Ray cluster that could make a shard; run again to go on")


@contextmanager
def _known_server() -> Iterator[str]:
    """Name the Prefect server in the settings, which travel with tasks: otherwise each node would start its own."""
    with get_client(sync_client=True) as client:
        url = str(client.api_url).rstrip("/")
    with temporary_settings({PREFECT_API_URL: url}):
        yield url


def _absolute(shard: ShardTask) -> ShardTask:
    return replace(shard, tar=shard.tar.absolute(), out=shard.out.absolute())


@functools.lru_cache(maxsize=1)
def _tower(folder: Path, fingerprint: str, device: str) -> Backbone:
    """Load a backbone once in each process; the fingerprint tells apart what one folder has held."""
    return backbone.load(folder, device)

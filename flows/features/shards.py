"""Feature shards as Prefect tasks: one task a tar, on this machine or on a Ray cluster (`ray_shards`)."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from clipn.config import FeaturesParams
from clipn.errors import ClipnError
from clipn.features import store
from clipn.features.inputs import Loader
from clipn.features.shards import ShardReport, ShardTask
from clipn.features.store import FeatureMeta
from clipn.models import backbone
from clipn.models.backbone import Backbone
from clipn.utils.files import atomic_folder
from flows.features.shard import encode_one
from flows.ray import cluster
from flows.runtime import machine


@task(task_run_name="{name}", cache_policy=NO_CACHE, retries=1, retry_delay_seconds=2, persist_result=False)
def encode(
    name: str, shard: ShardTask, clip: Backbone, meta: FeatureMeta, params: FeaturesParams, loader: Loader
) -> Any:
    """Make one feature shard."""
    return encode_one(name, shard, clip, meta, params, machine.workers(), loader)


def load(folder: Path) -> Backbone:
    """Load the backbone for `encode_all`. On a cluster this process only describes it, which needs no GPU."""
    return backbone.load(folder, "cpu" if cluster.address() else machine.device())


def encode_all(
    shards: Sequence[ShardTask],
    clip: Backbone,
    meta: FeatureMeta,
    params: FeaturesParams,
    out: Path,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Make all shards, move them to `out` as a finished store, and return the stage's report.

    Shards of an interrupted run are taken over if they are whole and their source has not changed.

    Args:
        shards, clip, meta, params: as `clipn.features.shards` makes and takes them.
        out: the store.
        folder: that `clip` was loaded from. If it is given and there is a Ray cluster, that makes the shards.
    """
    if folder is not None and cluster.address():
        from flows.features import ray_shards  # without a cluster nothing of Ray is imported

        reports, device = ray_shards.encode_all(shards, folder, meta, params)
    else:
        reports, device = _one_by_one(shards, clip, meta, params), str(clip.device)
    with atomic_folder(out) as temporary:
        # The index reads every shard, so it comes first: whoever interrupts it loses none of them.
        store.write_index(temporary, [shard.out for shard in shards])
        for shard in shards:
            shard.out.rename(temporary / shard.out.name)
    shutil.rmtree(shards[0].out.parent)

    dropped = Counter[str]()
    seconds = Counter[str]()
    for report in reports:
        dropped.update(report.dropped)
        seconds.update(report.seconds)
    return {
        "counts": {
            "in": sum(len(shard.entries) for shard in shards),
            "out": sum(report.rows for report in reports),
            "dropped": dict(dropped),
            "shards": len(shards),
            "shards_reused": sum(report.reused for report in reports),
        },
        "seconds": {phase: round(value, 3) for phase, value in seconds.items()},
        "device": device,
    }


def _one_by_one(
    shards: Sequence[ShardTask], clip: Backbone, meta: FeatureMeta, params: FeaturesParams
) -> list[ShardReport]:
    """A shard's tower already uses the whole machine or GPU. Processes that decode are kept for all shards."""
    reports: list[ShardReport] = []
    with closing(Loader(clip, meta, params, workers=machine.workers())) as loader:
        for shard in shards:
            state = encode(shard.out.stem, shard, clip, meta, params, loader, return_state=True)
            if state.is_failed():
                raise ClipnError(str(state.message))
            reports.append(state.result())
    return reports

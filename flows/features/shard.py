"""One feature shard within a task run, on this machine or on a node of a cluster."""

from __future__ import annotations

from typing import Any

from prefect import get_run_logger
from prefect.states import Failed

from clipn.config import FeaturesParams
from clipn.errors import ClipnError
from clipn.features import shards
from clipn.features.inputs import Loader
from clipn.features.shards import ShardTask
from clipn.features.store import FeatureMeta
from clipn.models.backbone import Backbone
from flows.runtime.progress import StageProgress


def encode_one(
    name: str,
    shard: ShardTask,
    clip: Backbone,
    meta: FeatureMeta,
    params: FeaturesParams,
    workers: int,
    loader: Loader | None = None,
) -> Any:
    """Make a feature shard and return its report. Invalid input makes the task run fail at once, without retries."""
    try:
        return shards.encode_shard(
            shard, clip, meta, params, workers=workers, loader=loader, progress=StageProgress(f"images of {name}")
        )
    except ClipnError as error:
        get_run_logger().error("%s", error)
        return Failed(message=str(error))

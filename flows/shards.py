"""Feature shards as Prefect tasks: one task per tar."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Failed

from clipn import features, store
from clipn.backbone import Backbone
from clipn.config import FeaturesParams
from clipn.errors import ClipnError
from clipn.features import ShardReport, ShardTask
from clipn.io import atomic_folder
from clipn.store import FeatureMeta
from flows import machine
from flows.stage import StageProgress


@task(task_run_name="{name}", cache_policy=NO_CACHE, retries=1, retry_delay_seconds=2, persist_result=False)
def encode(name: str, shard: ShardTask, clip: Backbone, meta: FeatureMeta, params: FeaturesParams) -> Any:
    """Make one feature shard."""
    try:
        return features.encode_shard(
            shard, clip, meta, params, workers=machine.workers(), progress=StageProgress(f"images of {name}")
        )
    except ClipnError as error:
        get_run_logger().error("%s", error)
        return Failed(message=str(error))


def encode_all(
    shards: Sequence[ShardTask], clip: Backbone, meta: FeatureMeta, params: FeaturesParams, out: Path
) -> dict[str, Any]:
    """Make all shards and move them to `out` as a finished store; gives the stage's report.

    Shards of an interrupted run are taken over if they are whole and their source has not changed.
    """
    reports: list[ShardReport] = []
    for shard in shards:
        # One after the other: a shard's tower already uses the whole machine or GPU.
        state = encode(shard.out.stem, shard, clip, meta, params, return_state=True)
        if state.is_failed():
            raise ClipnError(str(state.message))
        reports.append(state.result())
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
        "device": str(clip.device),
    }

"""Stage `features`: image features, token ids and text features of the training pairs, one task per tar."""

from __future__ import annotations

from typing import Any

from clipn import paths
from clipn.features.shards import describe, plan
from clipn.project.params import read_params
from flows.features.shards import encode_all, load
from flows.runtime.stage import stage


@stage("features")
def run() -> dict[str, Any]:
    """Compute everything frozen once, so that training touches nothing but the "No" text encoder."""
    params = read_params()
    clip = load(paths.BACKBONE)
    tasks = plan(paths.DOWNLOAD, paths.DOWNLOAD / "shards", paths.WORK / "features" / "train")
    meta = describe(clip, params.features, "training")
    return encode_all(tasks, clip, meta, params.features, paths.TRAIN_FEATURES, paths.BACKBONE)

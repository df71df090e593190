"""Stage `captions`: the list of addresses and captions to train on."""

from __future__ import annotations

from typing import Any

from clipn import captions, config, paths
from flows.stage import StageProgress, stage


@stage("captions")
def run() -> dict[str, Any]:
    """Make the caption list, and in the miniature world the images that it points to."""
    params = config.load()
    return captions.prepare(
        params.captions, params.world, paths.CAPTIONS, cache=paths.ARCHIVES, progress=StageProgress("rows")
    )

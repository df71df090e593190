"""Stage `sets`: one evaluation set as a tar with a manifest."""

from __future__ import annotations

from typing import Any

from clipn import config, paths
from clipn.data.sets.prepare import prepare_set
from clipn.project.params import read_params
from flows.runtime.progress import StageProgress
from flows.runtime.stage import stage


@stage("sets")
def run(name: str) -> dict[str, Any]:
    """Draw, fetch or read the images of an evaluation set and check every one of them."""
    params = read_params()
    return prepare_set(
        name,
        config.named(params.sets, "sets", name),
        params.world,
        paths.SETS / name,
        max_pixels=params.features.max_pixels,
        max_dropped=params.features.max_dropped,
        cache=paths.ARCHIVES,
        progress=StageProgress("images"),
    )

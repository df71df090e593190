"""Stage `captions`: the list of addresses and captions to train on."""

from __future__ import annotations

from typing import Any

from clipn import paths
from clipn.data.captions.prepare import prepare_captions
from clipn.project.params import read_params
from flows.runtime.progress import StageProgress
from flows.runtime.stage import stage


@stage("captions")
def run() -> dict[str, Any]:
    """Make the caption list, and in the miniature world the images that it points to."""
    params = read_params()
    return prepare_captions(
        params.captions, params.world, paths.CAPTIONS, cache=paths.ARCHIVES, progress=StageProgress("rows")
    )

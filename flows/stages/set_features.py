"""Stage `set_features`: image features and labels of one evaluation set."""

from __future__ import annotations

from typing import Any

from clipn import paths
from clipn.features.shards import describe, plan
from clipn.project.params import read_params
from clipn.utils import files
from flows.features.shards import encode_all, load
from flows.runtime.stage import stage


@stage("set_features")
def run(name: str) -> dict[str, Any]:
    """Compute the features of an evaluation set with the same tower as the training features."""
    params = read_params()
    clip = load(paths.BACKBONE)
    folder = paths.SETS / name
    meta = describe(clip, params.features, "evaluation", files.read_json(folder / "classes.json"))
    tasks = plan(folder, folder, paths.WORK / "features" / "sets" / name)
    return encode_all(tasks, clip, meta, params.features, paths.SET_FEATURES / name, paths.BACKBONE)

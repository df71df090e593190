"""Stage `study_features`: what one tower of the feature study sees in all images of its benchmarks."""

from __future__ import annotations

from typing import Any

from clipn import paths
from clipn.features.shards import describe, plan
from clipn.project.params import read_params
from clipn.utils import files
from flows.features.shards import encode_all, load
from flows.runtime.stage import stage


@stage("study_features")
def run(name: str) -> dict[str, Any]:
    """Compute image features before and after the projection, one set after the other."""
    params = read_params()
    folder = paths.STUDY / name
    clip = load(folder / "backbone")
    chosen = [params.benchmarks[key] for key in params.study.benchmarks]
    sets = dict.fromkeys(key for b in chosen for key in b.sets)
    reports = {}
    for key in sets:
        source = paths.SETS / key
        meta = describe(clip, params.features, "evaluation", files.read_json(source / "classes.json"))
        tasks = plan(source, source, paths.WORK / "study" / name / key)
        reports[key] = encode_all(tasks, clip, meta, params.features, folder / "features" / key, folder / "backbone")
    images = sum(report["counts"]["out"] for report in reports.values())
    return {"counts": {"images": images, "sets": len(sets)}, "sets": reports}

"""Stage `overlap`: duplicates between the sets of one benchmark, and among the training images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipn import config, paths
from clipn.evaluation import overlap
from clipn.evaluation.duplicates import ID, TRAINING
from clipn.features.lookup import Images
from clipn.features.store import FeatureStore
from clipn.project.params import read_params
from clipn.utils import files
from flows.runtime import machine
from flows.runtime.progress import StageProgress
from flows.runtime.stage import stage


@stage("overlap")
def run(benchmark: str) -> dict[str, Any]:
    """Look for images of a benchmark that stand in two of its sets, or that the no encoder was trained on."""
    params = read_params()
    sets = config.named(params.benchmarks, "benchmarks", benchmark)
    training = None
    if params.overlap.against_training:
        training = _images(paths.TRAIN_FEATURES, paths.DOWNLOAD, paths.DOWNLOAD / "shards")
    found = overlap.find(
        sets,
        {
            name: _images(paths.SET_FEATURES / name, paths.SETS / name, paths.SETS / name)
            for name in (sets.id, *sets.ood)
        },
        training,
        params.overlap.threshold,
        max_pixels=params.features.max_pixels,
        device=machine.device(),
        progress=StageProgress("images compared with"),
    )
    with files.atomic_folder(paths.OVERLAP / benchmark) as folder:
        overlap.write(found, folder)
    files.write_json(
        paths.OVERLAPS / f"{benchmark}.json",
        {
            "benchmark": benchmark,
            "id": sets.id,
            "ood": list(sets.ood),
            "threshold": params.overlap.threshold,
            "sets": found.counts,
        },
    )
    return {"counts": {"in": sum(counts["images"] for counts in found.counts.values()), **_totals(found.counts)}}


def _images(features: Path, folder: Path, shards: Path) -> Images:
    return Images(FeatureStore.open(features), folder / "manifest.parquet", shards)


def _totals(counts: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Images with a duplicate, over all sets."""
    totals = {}
    for other, name in ((ID, "duplicates of ID images"), (TRAINING, "duplicates of training images")):
        totals[name] = sum(sum(of_set[other].values()) for of_set in counts.values() if other in of_set)
    return totals

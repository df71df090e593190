"""Stage `overlap`: duplicates between the sets of one benchmark, and among the training images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clipn import config, paths
from clipn.evaluation import overlap
from clipn.evaluation.results.overlap import Duplicates, OverlapResult, SetOverlap
from clipn.features.lookup import Images
from clipn.features.store import FeatureStore
from clipn.project.params import read_params
from clipn.utils import files
from flows.runtime import machine
from flows.runtime.progress import StageProgress
from flows.runtime.stage import stage


@stage("overlap")
def run(benchmark: str) -> dict[str, Any]:
    """Look for images of a benchmark that stand in two of its sets, or that the "No" text encoder was trained on."""
    params = read_params()
    sets = config.named(params.benchmarks, "benchmarks", benchmark)
    training = None
    if params.overlap.against_training:
        training = _images(paths.TRAIN_FEATURES, paths.DOWNLOAD, paths.DOWNLOAD / "shards")
    matches = overlap.find(
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
        overlap.write(matches, folder)
    result = OverlapResult(
        benchmark=benchmark,
        id=sets.id,
        ood=sets.ood,
        threshold=params.overlap.threshold,
        sets={name: SetOverlap(**counts) for name, counts in matches.counts.items()},
    )
    result.write(paths.OVERLAPS / f"{benchmark}.json")
    return {"counts": {"in": sum(of_set.images for of_set in result.sets.values()), **_totals(result)}}


def _images(features: Path, folder: Path, shards: Path) -> Images:
    return Images(FeatureStore.open(features), folder / "manifest.parquet", shards)


def _totals(result: OverlapResult) -> dict[str, int]:
    """Count the images that have a duplicate, over all sets."""
    return {
        "duplicates of ID images": sum(_with_duplicate(of_set.id) for of_set in result.sets.values()),
        "duplicates of training images": sum(_with_duplicate(of_set.training) for of_set in result.sets.values()),
    }


def _with_duplicate(duplicates: Duplicates | None) -> int:
    return duplicates.exact + duplicates.near if duplicates else 0

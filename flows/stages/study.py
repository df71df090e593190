"""Stage `study`: every benchmark and method of the feature study with one tower."""

from __future__ import annotations

from typing import Any

import pyarrow.parquet as pq

from clipn import paths
from clipn.evaluation.results.benchmark import BenchmarkMetrics
from clipn.evaluation.results.study import StudyResult
from clipn.features.store import FeatureStore
from clipn.models import backbone
from clipn.project.params import read_params
from clipn.utils import files
from flows.evaluation import measure, show
from flows.runtime import machine
from flows.runtime.progress import StageProgress
from flows.runtime.stage import stage


@stage("study")
def run(name: str) -> dict[str, Any]:
    """Score the benchmarks on the features of one tower."""
    params = read_params()
    options, folder = params.study, paths.STUDY / name
    clip = backbone.load(folder / "backbone", machine.device())
    progress = StageProgress("benchmarks")
    results: dict[str, BenchmarkMetrics] = {}
    for done, benchmark in enumerate(options.benchmarks):
        result = measure(params, benchmark, options.methods, clip=clip, features=folder / "features", leave_out="none")
        results[benchmark] = BenchmarkMetrics(**result.metrics)
        with files.atomic_path(folder / "scores" / f"{benchmark}.parquet") as path:
            pq.write_table(result.scores, path)
        show(f"study-{name}-{benchmark}", f"{benchmark} with the tower {name}", results[benchmark])
        progress(done + 1, len(options.benchmarks))
    meta = FeatureStore.open(folder / "features" / params.benchmarks[options.benchmarks[-1]].id).meta
    what = options.backbones[name]
    tower = StudyResult(
        backbone=name,
        origin=", ".join(str(v) for v in (what.source, what.name, what.pretrained) if v),
        dim=meta.dim,
        pooled=meta.pooled,
        benchmarks=results,
    )
    tower.write(paths.STUDIES / f"{name}.json")
    return {"counts": {"benchmarks": len(results), "methods": len(options.methods)}}

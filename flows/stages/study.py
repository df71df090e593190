"""Stage `study`: every benchmark and method of the feature study with one tower."""

from __future__ import annotations

from typing import Any

import pyarrow.parquet as pq

from clipn import paths
from clipn.evaluation import benchmark as evaluate
from clipn.evaluation import evidence
from clipn.evaluation.evidence import Sets
from clipn.models import backbone
from clipn.project.params import read_params
from clipn.utils import files
from flows import evaluation
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
    results: dict[str, Any] = {}
    for done, benchmark in enumerate(options.benchmarks):
        sets = Sets.open(params, benchmark, clip.fingerprint, folder / "features")
        result = evaluate.evaluate(
            benchmark,
            sets.benchmark,
            lambda key, sets=sets: sets.load(options.methods, key),  # type: ignore[misc]
            evidence.gather(params, sets, clip, options.methods),
            options.methods,
            params.evaluate.fpr_convention,
            replicates=params.evaluate.bootstrap,
            left_out=None,
        )
        marks = {"templates": params.evaluate.templates, "leave_out": "none"}
        results[benchmark] = {**result.metrics, **marks}
        with files.atomic_path(folder / "scores" / f"{benchmark}.parquet") as path:
            pq.write_table(result.scores, path)
        evaluation.show(f"study-{name}-{benchmark}", f"{benchmark} with the tower {name}", result.metrics)
        progress(done + 1, len(options.benchmarks))
    meta = sets.stores[sets.benchmark.id].meta
    what = options.backbones[name]
    files.write_json(
        paths.STUDIES / f"{name}.json",
        {
            "backbone": name,
            "origin": ", ".join(str(v) for v in (what.source, what.name, what.pretrained) if v),
            "dim": meta.dim,
            "pooled": meta.pooled,
            "benchmarks": results,
        },
    )
    return {"counts": {"benchmarks": len(results), "methods": len(options.methods)}}

"""Stage `evaluate`: the methods with a "No" text encoder on one benchmark, with the model of one seed."""

from __future__ import annotations

from typing import Any

from clipn import paths, scores
from clipn.project.params import read_params
from flows import evaluation
from flows.runtime.stage import stage


@stage("evaluate")
def run(benchmark: str, seed: int) -> dict[str, Any]:
    """Score the ID and OOD sets of a benchmark on their cached features."""
    params = read_params()
    methods = [method for method in params.evaluate.methods if scores.is_trained(method)]
    return evaluation.score(params, benchmark, methods, f"seed-{seed}", {"seed": seed}, paths.model(seed))

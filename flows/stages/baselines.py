"""Stage `baselines`: the methods without a "No" text encoder on one benchmark, which do not depend on the seed."""

from __future__ import annotations

from typing import Any

from clipn import scores
from clipn.project.params import read_params
from flows import evaluation
from flows.runtime.stage import stage


@stage("baselines")
def run(benchmark: str) -> dict[str, Any]:
    """Score the ID and OOD sets of a benchmark on their cached features, without any training."""
    params = read_params()
    methods = [method for method in params.evaluate.methods if not scores.is_trained(method)]
    return evaluation.score(params, benchmark, methods, "baselines")

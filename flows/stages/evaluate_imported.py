"""Stage `evaluate_imported`: one benchmark with one model that was trained elsewhere."""

from __future__ import annotations

from typing import Any

from clipn import scores
from clipn.project import preflight
from clipn.project.params import read_params
from flows import evaluation
from flows.runtime.stage import stage


@stage("evaluate_imported")
def run(benchmark: str, name: str) -> dict[str, Any]:
    """Score the sets of a benchmark with the methods that use the "No" text encoder; the others do not depend on it."""
    params = read_params()
    folder = preflight.imported_model(name)
    methods = [method for method in params.evaluate.methods if scores.is_trained(method)]
    return evaluation.score(params, benchmark, methods, f"imported-{name}", {"imported": name}, folder)

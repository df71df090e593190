"""Flow `evaluate-model`: a trained "No" text encoder, wherever it comes from, on benchmarks of the pipeline.

The stages `evaluate` and `evaluate_imported` do the same for the models that DVC knows. This flow measures
another one: what it writes is no output of DVC, and nothing depends on it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as pq
from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from clipn import config, scores
from clipn.config import Params
from clipn.errors import ClipnError, InvalidParams
from clipn.evaluation.results.benchmark import BenchmarkMetrics
from clipn.models import no_encoder
from clipn.project.params import read_params
from clipn.utils import files
from flows import evaluation

EVALUATED = Path("data/evaluated")
"""MODEL/BENCHMARK.json and .parquet, like `reports/metrics` and `data/scores`."""


@flow(name="evaluate-model", flow_run_name="evaluate {model}", persist_result=False)
def evaluate_model(model: str, benchmarks: list[str] | None = None) -> State[None]:
    """Measure a trained "No" text encoder on the features that the pipeline has made.

    Args:
        model: Folder of the "No" text encoder, as in models/clipn/seed-0.
        benchmarks: Names of benchmarks in params.yaml. Empty: those of evaluate.benchmarks.
    """
    try:
        params = read_params()
        names = benchmarks or list(params.evaluate.benchmarks)
        folder = Path(model)
        methods = _checked(params, folder, names)
        out = EVALUATED / _label(folder)
        for name in names:
            result = evaluation.measure(params, name, methods, folder, leave_out=params.overlap.leave_out)
            with files.atomic_path(out / f"{name}.parquet") as path:
                pq.write_table(result.scores, path)
            files.write_json(out / f"{name}.json", {**result.metrics, "model": model})
            evaluation.show(f"model-{_label(folder)}-{name}", f"{name}, {model}", BenchmarkMetrics(**result.metrics))
            get_run_logger().info("%s: %d images scored, see %s", name, result.scores.num_rows, out / f"{name}.json")
    except ClipnError as error:
        return Failed(message=str(error))
    return Completed(message=f"{', '.join(names)}: see the artifacts, or {out}")


def _checked(params: Params, folder: Path, names: list[str]) -> list[str]:
    """Check that model and benchmarks exist, and return the methods to measure.

    Raises:
        ClipnError: the model or a benchmark does not exist, or no method uses a "No" text encoder.
    """
    no_encoder.read_config(folder)
    for name in names:
        config.named(params.benchmarks, "benchmarks", name)
    methods = [method for method in params.evaluate.methods if scores.is_trained(method)]
    if not methods:
        raise InvalidParams('evaluate.methods has no method that uses a "No" text encoder, such as CLIPN-ATD')
    return methods


def _label(folder: Path) -> str:
    """Return a name for files and artifacts."""
    return re.sub("[^a-z0-9]+", "-", str(folder).lower()).strip("-")

"""Reads what was measured on one benchmark: its metrics files."""

from __future__ import annotations

from pathlib import Path

from clipn import paths
from clipn.config import BenchmarkParams
from clipn.errors import InvalidData
from clipn.evaluation.results.benchmark import BASELINES, BenchmarkMetrics


def read_run(root: Path, name: str, sets: BenchmarkParams, model: str) -> BenchmarkMetrics:
    """Read `reports/metrics/<name>/<model>.json`, where `model` is `baselines`, `seed-N` or `imported-NAME`.

    Raises:
        InvalidData: the file is missing, lacks a field, or was made for other sets or another model.
        NonFinite: a value is NaN or infinite.
    """
    path = path_of(root / paths.METRICS / name, model, ".json")
    run = BenchmarkMetrics.read_of(path, name, sets)
    if run.model != model:
        raise InvalidData(f"{path} is of the model {run.model}, not {model}; run 'dvc repro'")
    for method, metrics in run.methods.items():
        if metrics.trained == (model == BASELINES):
            kind = "uses" if metrics.trained else "does not use"
            raise InvalidData(
                f"{path}: {method} {kind} the \"No\" text encoder, so it belongs in another file; run 'dvc repro'"
            )
    return run


def path_of(folder: Path, model: str, suffix: str) -> Path:
    """Return the file of one model.

    Raises:
        InvalidData: there is none.
    """
    path = folder / f"{model}{suffix}"
    if not path.is_file():
        asking = {"seed": ", which train.seeds asks for", "imported": ", which evaluate.imported asks for"}
        raise InvalidData(f"{folder} lacks {path.name}{asking.get(model.partition('-')[0], '')}; run 'dvc repro'")
    return path

"""Reads what the report shows: metrics, scores, training curves and stage reports."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from clipn.config import BenchmarkParams
from clipn.errors import InvalidData, NonFinite
from clipn.io import read_json
from clipn.metrics import fpr95_key

LOSSES = ("loss_yes", "loss_no", "loss_tso", "loss")

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


@checked_dataclass(frozen=True)
class Decision:
    """Shares of images under a method's own decision, which needs no threshold."""

    id_kept: Fraction
    ood_refused: dict[str, Fraction]


@checked_dataclass(frozen=True)
class MethodRun:
    trained: bool
    """Whether the method uses the no encoder, so that its values depend on the seed."""
    ood: dict[str, dict[str, Fraction]]
    """OOD set → metric → value."""
    decision: Decision | None = None


@checked_dataclass(frozen=True)
class Run:
    """One metrics file: one benchmark with one seed. All values are fractions."""

    benchmark: str
    id: str
    ood: tuple[str, ...]
    seed: int
    fpr_convention: Literal["id-interpolated", "id-nearest", "ood-first"]
    id_accuracy: Fraction
    logit_scale: float
    templates: str
    images: dict[str, Count]
    methods: Annotated[dict[str, MethodRun], Field(min_length=1)]

    @property
    def fpr_key(self) -> str:
        return fpr95_key(self.fpr_convention)


@dataclass(frozen=True)
class Scores:
    """Scores of one method in one run, higher for in-distribution: float32 [images]."""

    id: NDArray[np.float32]
    ood: NDArray[np.float32]
    """All OOD sets together."""


@dataclass(frozen=True)
class Stage:
    """What one stage said about itself when it last ran."""

    name: str
    seconds: float
    counts: dict[str, int]
    """`in`, `out` and others."""
    dropped: dict[str, int]
    """Reason → number."""


_RUN = TypeAdapter(Run)


def read_run(root: Path, name: str, benchmark: BenchmarkParams, seed: int) -> Run:
    """Read `reports/metrics/<name>/seed-<seed>.json`.

    Raises:
        InvalidData: the file is missing, lacks a field, or was made for other sets.
        NonFinite: a value is NaN or infinite.
    """
    path = _of_seed(root / "reports" / "metrics" / name, seed, ".json")
    values = read_json(path)
    refuse_non_finite(values, path)
    try:
        run = _RUN.validate_python(values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors())
        raise InvalidData(f"{path} is no metrics file of 'evaluate': {problems}") from error
    expected = (name, benchmark.id, tuple(benchmark.ood), seed)
    found = (run.benchmark, run.id, run.ood, run.seed)
    if found != expected:
        raise InvalidData(f"{path} is of (benchmark, ID, OOD, seed) {found}, not {expected}; run 'dvc repro'")
    for set_name in (run.id, *run.ood):
        if set_name not in run.images:
            raise InvalidData(f"{path}: images has no number for the set {set_name!r}; run 'dvc repro'")
    for method, result in run.methods.items():
        for ood in run.ood:
            for key in ("auroc", run.fpr_key):
                if key not in result.ood.get(ood, {}):
                    raise InvalidData(f"{path}: methods.{method}.ood.{ood} has no {key}; run 'dvc repro'")
            if result.decision and ood not in result.decision.ood_refused:
                raise InvalidData(f"{path}: methods.{method}.decision.ood_refused has no {ood}; run 'dvc repro'")
    return run


def read_scores(root: Path, run: Run) -> dict[str, Scores]:
    """Read `data/scores/<benchmark>/seed-<seed>.parquet`: method → its scores.

    Raises:
        InvalidData: the file is missing or no Parquet, or lacks a set or a method of `run`.
        NonFinite: a score is NaN or infinite.
    """
    path = _of_seed(root / "data" / "scores" / run.benchmark, run.seed, ".parquet")
    try:
        parquet = pq.ParquetFile(path)
        missing = {"set", *run.methods} - set(parquet.schema_arrow.names)
        if missing:
            raise InvalidData(f"{path} has no column {', '.join(sorted(missing))}; run 'dvc repro'")
        table = parquet.read(columns=["set", *run.methods])
    except (pa.ArrowException, OSError) as error:
        raise InvalidData(f"{path} cannot be read as Parquet: {error}") from error
    sets = np.asarray(table["set"].to_pylist(), dtype=object)
    for name in (run.id, *run.ood):
        if not (sets == name).any():
            raise InvalidData(f"{path} has no rows of the set {name!r}; run 'dvc repro'")
    is_id, is_ood = sets == run.id, np.isin(sets, list(run.ood))
    scores = {}
    for method in run.methods:
        if not pa.types.is_floating(table[method].type):
            raise InvalidData(f"{path}: {method} is a column of {table[method].type}, not of scores; run 'dvc repro'")
        column = table[method].to_numpy().astype(np.float32)
        bad = np.flatnonzero(~np.isfinite(column))
        if bad.size:
            raise NonFinite(f"{path}: {method} is {column[bad[0]]} in row {bad[0]}; look into 'evaluate' and rerun it")
        scores[method] = Scores(column[is_id], column[is_ood])
    return scores


def read_training(root: Path, seed: int) -> dict[str, NDArray[np.float64]]:
    """Read `reports/training/seed-<seed>.csv`: `step` and the losses, each float64 [steps].

    Raises:
        InvalidData: the file is missing, lacks a column, or a value is no number.
        NonFinite: a value is NaN or infinite.
    """
    path = _of_seed(root / "reports" / "training", seed, ".csv")
    types = dict.fromkeys(("step", *LOSSES), pa.float64())
    options = pacsv.ConvertOptions(include_columns=list(types), column_types=types, null_values=[])
    try:
        table = pacsv.read_csv(path, convert_options=options)
    except (pa.ArrowException, OSError) as error:
        raise InvalidData(f"{path} is no training log: {error}; run 'dvc repro'") from error
    if not table.num_rows:
        raise InvalidData(f"{path} holds no training step; run 'dvc repro'")
    columns = {name: table[name].to_numpy() for name in types}
    for name, values in columns.items():
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            raise NonFinite(f"{path}: {name} is {values[bad[0]]} in line {bad[0] + 2}; look into 'train' and rerun it")
    return columns


def read_stages(root: Path, names: Iterable[str]) -> list[Stage]:
    """Read `reports/stages/<name>.json` of those stages that have one.

    Raises:
        InvalidData: a file is no stage report.
        NonFinite: a value is NaN or infinite.
    """
    paths = [root / "reports" / "stages" / f"{name}.json" for name in names]
    return [_stage(path) for path in paths if path.is_file()]


def _stage(path: Path) -> Stage:
    values = read_json(path)
    refuse_non_finite(values, path)
    try:
        counts = values.get("counts", {})
        numbers = {kind: count for kind, count in counts.items() if type(count) is int}
        return Stage(path.stem, float(values["seconds"]["total"]), numbers, dict(counts.get("dropped", {})))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidData(f"{path} is no stage report with seconds and counts ({error!r}); run 'dvc repro'") from error


def refuse_non_finite(value: Any, path: Path, field: str = "") -> None:
    """Look for NaN and infinities in nested dicts and lists.

    Raises:
        NonFinite: naming file and field.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise NonFinite(f"{path}: {field} is {value}; look into the stage that wrote it and rerun it")
    nested = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in nested:
        refuse_non_finite(item, path, f"{field}.{key}" if field else str(key))


def _of_seed(folder: Path, seed: int, suffix: str) -> Path:
    path = folder / f"seed-{seed}{suffix}"
    if not path.is_file():
        raise InvalidData(f"{folder} lacks {path.name}, which train.seeds asks for; run 'dvc repro'")
    return path

"""Reads what the report shows: metrics, scores and stage reports."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from clipn.config import BenchmarkParams
from clipn.errors import InvalidData, NonFinite
from clipn.io import read_json
from clipn.metrics import fpr95_key

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
    """One metrics file: one benchmark with one model. All values are fractions."""

    benchmark: str
    id: str
    ood: tuple[str, ...]
    fpr_convention: Literal["id-interpolated", "id-nearest", "ood-first"]
    id_accuracy: Fraction
    logit_scale: float
    templates: str
    images: dict[str, Count]
    methods: Annotated[dict[str, MethodRun], Field(min_length=1)]
    seed: int | None = None
    """Of the training run, for a model that was trained here."""
    imported: str | None = None
    """Name of the model, for one that was trained elsewhere."""

    @property
    def model(self) -> str:
        """`seed-N` or `imported-NAME`, as in the names of files."""
        return f"seed-{self.seed}" if self.imported is None else f"imported-{self.imported}"

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


def read_run(root: Path, name: str, benchmark: BenchmarkParams, model: str) -> Run:
    """Read `reports/metrics/<name>/<model>.json`, where `model` is `seed-N` or `imported-NAME`.

    Raises:
        InvalidData: the file is missing, lacks a field, or was made for other sets.
        NonFinite: a value is NaN or infinite.
    """
    path = _of_model(root / "reports" / "metrics" / name, model, ".json")
    values = read_json(path)
    refuse_non_finite(values, path)
    try:
        run = _RUN.validate_python(values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors())
        raise InvalidData(f"{path} is no metrics file of 'evaluate': {problems}") from error
    expected = (name, benchmark.id, tuple(benchmark.ood), model)
    found = (run.benchmark, run.id, run.ood, run.model)
    if found != expected:
        raise InvalidData(f"{path} is of (benchmark, ID, OOD, model) {found}, not {expected}; run 'dvc repro'")
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
    """Read `data/scores/<benchmark>/<model>.parquet`: method → its scores.

    Raises:
        InvalidData: the file is missing or no Parquet, or lacks a set or a method of `run`.
        NonFinite: a score is NaN or infinite.
    """
    path = _of_model(root / "data" / "scores" / run.benchmark, run.model, ".parquet")
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


def _of_model(folder: Path, model: str, suffix: str) -> Path:
    path = folder / f"{model}{suffix}"
    if not path.is_file():
        asking = "train.seeds" if model.startswith("seed-") else "evaluate.imported"
        raise InvalidData(f"{folder} lacks {path.name}, which {asking} asks for; run 'dvc repro'")
    return path

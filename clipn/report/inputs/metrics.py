"""Reads what was measured on one benchmark: its metrics files."""

from __future__ import annotations

import math
import statistics
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from clipn.config import BenchmarkParams
from clipn.errors import InvalidData, NonFinite
from clipn.metrics.detection import fpr95_key
from clipn.utils.files import read_json

# A sum of shares may end a rounding error above 1.
Fraction = Annotated[float, Field(ge=-1e-9, le=1 + 1e-9)]
Count = Annotated[int, Field(ge=0)]
T = TypeVar("T")
Need = Literal["yes", "no", "words", "images", "labels"]

BASELINES = "baselines"
"""What the file of the methods without the no encoder is called."""
SAME = 1e-4
"""Fractions that are closer print the same."""


@checked_dataclass(frozen=True)
class Measures:
    """How well one method tells ID from one OOD set; low and high are the limits of 95 % intervals."""

    auroc: Fraction
    auroc_low: Fraction
    auroc_high: Fraction
    aupr_in: Fraction
    aupr_out: Fraction
    fpr95_id_interpolated: Fraction
    fpr95_id_nearest: Fraction
    fpr95_ood_first: Fraction
    fpr95_low: Fraction
    """Of the run's own convention, as `fpr95_high`."""
    fpr95_high: Fraction


MEASURES = tuple(field.name for field in fields(Measures))


@checked_dataclass(frozen=True)
class Decision:
    """Shares of images under a method's own decision, which needs no threshold."""

    id_kept: Fraction
    ood_refused: dict[str, Fraction]
    calibration_error: Fraction


@checked_dataclass(frozen=True)
class MethodRun:
    trained: bool
    """Whether the method uses the no encoder, so that its values depend on the seed."""
    needs: frozenset[Need]
    id_accuracy: Fraction | None
    """Of the method's own classifier, if it has one."""
    ood: dict[str, Measures]
    average: Measures
    """Over the OOD sets."""
    decision: Decision | None = None


@checked_dataclass(frozen=True)
class Bin:
    """ID images whose class probability is alike: its mean, their accuracy, their share."""

    confidence: Fraction
    accuracy: Fraction
    share: Fraction


@checked_dataclass(frozen=True)
class Calibration:
    """How far the class probability of zero-shot classification says how often it is right."""

    error: Fraction
    confidence: Fraction
    accuracy: Fraction
    bins: tuple[Bin, ...]


@checked_dataclass(frozen=True)
class Run:
    """One metrics file: one benchmark with one model, or without any. All values are fractions."""

    benchmark: str
    id: str
    ood: tuple[str, ...]
    fpr_convention: Literal["id-interpolated", "id-nearest", "ood-first"]
    id_accuracy: Fraction | None
    """Of zero-shot classification; None without class names."""
    calibration: Calibration | None
    logit_scale: float
    templates: str
    images: dict[str, Count]
    """Those that were measured."""
    leave_out: Literal["none", "id", "id-and-training"]
    left_out: dict[str, Count]
    """OOD set → number of its images that were not measured, since they are duplicates."""
    skipped: dict[str, str]
    """Method that could not be measured → why."""
    methods: dict[str, MethodRun]
    seed: int | None = None
    """Of the training run, for a model that was trained here."""
    imported: str | None = None
    """Name of the model, for one that was trained elsewhere."""

    @property
    def model(self) -> str:
        """`baselines`, `seed-N` or `imported-NAME`, as in the names of files."""
        if self.imported is not None:
            return f"imported-{self.imported}"
        return BASELINES if self.seed is None else f"seed-{self.seed}"

    @property
    def fpr_key(self) -> str:
        return fpr95_key(self.fpr_convention)


_RUN = TypeAdapter(Run)


def read_run(root: Path, name: str, benchmark: BenchmarkParams, model: str) -> Run:
    """Read `reports/metrics/<name>/<model>.json`, where `model` is `baselines`, `seed-N` or `imported-NAME`.

    Raises:
        InvalidData: the file is missing, lacks a field, or was made for other sets or another model.
        NonFinite: a value is NaN or infinite.
    """
    path = path_of(root / "reports" / "metrics" / name, model, ".json")
    values = read_json(path)
    refuse_non_finite(values, path)
    run = checked_run(values, str(path), name, benchmark)
    if run.model != model:
        raise InvalidData(f"{path} is of the model {run.model}, not {model}; run 'dvc repro'")
    for method, result in run.methods.items():
        if result.trained == (model == BASELINES):
            kind = "uses the no encoder" if result.trained else "does not use the no encoder"
            raise InvalidData(f"{path}: {method} {kind}, so it belongs in another file; run 'dvc repro'")
    return run


def checked_run(values: Any, where: str, name: str, benchmark: BenchmarkParams) -> Run:
    """Content of a metrics file of the benchmark `name`.

    Args:
        values: what was read.
        where: file, and place in it, for messages.
        name: of the benchmark.
        benchmark: its sets.

    Raises:
        InvalidData: a field is missing or out of range, the sets are others, or a number lacks one of them.
    """
    try:
        run = _RUN.validate_python(values)
    except ValidationError as error:
        raise InvalidData(f"{where} is no metrics of a benchmark: {problems(error)}; run 'dvc repro'") from error
    expected, found = (name, benchmark.id, tuple(benchmark.ood)), (run.benchmark, run.id, run.ood)
    if found != expected:
        raise InvalidData(f"{where} is of (benchmark, ID, OOD) {found}, not {expected}; run 'dvc repro'")
    for set_name in (run.id, *run.ood):
        if set_name not in run.images:
            raise InvalidData(f"{where}: images has no number for the set {set_name!r}; run 'dvc repro'")
    for set_name in run.ood:
        if set_name not in run.left_out:
            raise InvalidData(f"{where}: left_out has no number for the set {set_name!r}; run 'dvc repro'")
    for method, result in run.methods.items():
        _check_method(run, method, result, where)
    return run


def _check_method(run: Run, method: str, result: MethodRun, where: str) -> None:
    if result.trained != ("no" in result.needs):
        needs = ", ".join(sorted(result.needs))
        raise InvalidData(f"{where}: methods.{method}.trained is {result.trained}, but it needs {needs}")
    for ood in run.ood:
        if ood not in result.ood:
            raise InvalidData(f"{where}: methods.{method}.ood has no {ood}; run 'dvc repro'")
        if result.decision and ood not in result.decision.ood_refused:
            raise InvalidData(f"{where}: methods.{method}.decision.ood_refused has no {ood}; run 'dvc repro'")
    for key in ("auroc", "aupr_in", "aupr_out", run.fpr_key):
        mean, average = statistics.fmean(getattr(result.ood[s], key) for s in run.ood), getattr(result.average, key)
        if abs(mean - average) > SAME:
            raise InvalidData(
                f"{where}: methods.{method}.average.{key} is {average}, but the sets' mean is {mean:.6f}; run 'dvc "
                "repro'"
            )


def validated(path: Path, adapter: TypeAdapter[T], what: str) -> T:
    """What a JSON file of numbers holds.

    Args:
        path: of the file.
        adapter: the form that it has to have.
        what: it is a file of, for the message.

    Raises:
        MissingInput: it does not exist.
        InvalidData: a field is missing or out of range.
        NonFinite: a value is NaN or infinite.
    """
    values = read_json(path)
    refuse_non_finite(values, path)
    try:
        return adapter.validate_python(values)
    except ValidationError as error:
        raise InvalidData(f"{path} is no file of {what}: {problems(error)}; run 'dvc repro'") from error


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


def problems(error: ValidationError) -> str:
    """What is wrong with the content of a file, field by field."""
    return "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())


def path_of(folder: Path, model: str, suffix: str) -> Path:
    """The file of one model.

    Raises:
        InvalidData: there is none.
    """
    path = folder / f"{model}{suffix}"
    if not path.is_file():
        asking = {"seed": ", which train.seeds asks for", "imported": ", which evaluate.imported asks for"}
        raise InvalidData(f"{folder} lacks {path.name}{asking.get(model.partition('-')[0], '')}; run 'dvc repro'")
    return path

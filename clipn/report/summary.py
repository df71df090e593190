"""What a benchmark's runs come to: means and deviations over seeds, methods grouped by what they need."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clipn.evaluation.results.benchmark import Calibration
from clipn.metrics.detection import AVERAGE

GROUPS = (
    "Class names",
    'Class names and a trained "No" text encoder',
    "Class names and a word list",
    "ID images",
    "ID images with labels",
    'More than one of "No" text encoder, word list and ID images',
)
"""What methods need, from little to much."""


@dataclass(frozen=True)
class Spread:
    """One number measured once per seed, as fractions; once in all if it does not depend on the seed."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def std(self) -> float | None:
        """Return the sample standard deviation (n - 1); None for a single value."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


def percent(spread: Spread) -> str:
    """Return the mean in percent, with the deviation where there is one: `80.00 ± 5.00`."""
    return f"{100 * spread.mean:.2f}" + ("" if spread.std is None else f" ± {100 * spread.std:.2f}")


def signed(points: float) -> str:
    """Return a difference with its sign: `+1.20`, `−0.30`."""
    return f"{points:+.2f}".replace("-", "−")


@dataclass(frozen=True)
class DecisionSummary:
    id_kept: Spread
    ood_refused: dict[str, Spread]
    calibration_error: Spread


@dataclass(frozen=True)
class MethodSummary:
    """One row of the tables."""

    name: str
    """With an imported model's name in brackets, `CLIPN-ATD (NAME)`, if it was measured with one."""
    base: str
    """The score's own name."""
    needs: frozenset[str]
    measures: Mapping[str, Mapping[str, Spread]]
    """A field of `results.benchmark.Measures` → OOD set, and last the average over the sets of each seed → values."""
    fpr_key: str
    """Which of the measures is FPR95 in the convention of the benchmark."""
    id_accuracy: Spread | None = None
    """Of the method's own classifier."""
    decision: DecisionSummary | None = None
    imported: str | None = None
    """Name of the imported model, for a method that was measured with one."""

    @property
    def trained(self) -> bool:
        return "no" in self.needs

    @property
    def auroc(self) -> Mapping[str, Spread]:
        return self.measures["auroc"]

    @property
    def fpr95(self) -> Mapping[str, Spread]:
        return self.measures[self.fpr_key]

    @property
    def group(self) -> str:
        return group(self.needs)


@dataclass(frozen=True)
class ImportedModel:
    """What may differ from the models that were trained here."""

    name: str
    logit_scale: float
    templates: str


@dataclass(frozen=True)
class BenchmarkSummary:
    name: str
    id: str
    ood: tuple[str, ...]
    seeds: tuple[int, ...]
    fpr_convention: str
    fpr_key: str
    id_accuracy: float | None
    """Of zero-shot classification."""
    calibration: Calibration | None
    logit_scale: float
    templates: str
    images: dict[str, int]
    methods: tuple[MethodSummary, ...]
    """In the order of `GROUPS`; in each as in `scores.REGISTRY`, and last those with imported models."""
    imported: tuple[ImportedModel, ...] = ()
    trained_templates: str = ""
    """Those of the models trained here, where they are others than `templates`."""
    leave_out: str = "none"
    """Which OOD images were not measured, as in `clipn.config.OverlapParams`."""
    left_out: dict[str, int] = field(default_factory=dict)
    """OOD set → their number."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Method that could not be measured → why."""

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.ood, AVERAGE)

    @property
    def own_methods(self) -> tuple[MethodSummary, ...]:
        """Return the methods that were not measured with an imported model."""
        return tuple(method for method in self.methods if method.imported is None)

    @property
    def by_name(self) -> dict[str, MethodSummary]:
        return {method.name: method for method in self.methods}

    @property
    def ood_images(self) -> int:
        return sum(self.images[name] for name in self.ood)


def group(needs: frozenset[str]) -> str:
    """Return which of `GROUPS` a method belongs to.

    Two of "No" text encoder, word list and ID images make a combination.
    """
    if len(needs & {"no", "words"}) + bool(needs & {"images", "labels"}) > 1:
        return GROUPS[5]
    for need, name in (("no", GROUPS[1]), ("words", GROUPS[2]), ("labels", GROUPS[4]), ("images", GROUPS[3])):
        if need in needs:
            return name
    return GROUPS[0]


def best(methods: Sequence[MethodSummary]) -> MethodSummary:
    """Return the method with the highest average AUROC; of several the first."""
    return max(methods, key=lambda method: method.auroc[AVERAGE].mean)


def headline(benchmark: BenchmarkSummary, names: Sequence[str]) -> dict[str, Any]:
    """Return the few figures that experiments are compared by: averages over OOD sets and seeds, as fractions.

    The convention of FPR95 is a value here: in the keys it would make each a column wider than its numbers are long.

    Args:
        benchmark: where they were measured.
        names: of some of its methods.
    """
    figures: dict[str, Any] = {"fpr_convention": benchmark.fpr_convention}
    if benchmark.id_accuracy is not None:
        figures["id_accuracy"] = round(benchmark.id_accuracy, 4)
    for name in names:
        method = benchmark.by_name[name]
        measured = {"auroc": method.auroc, "fpr95": method.fpr95}
        figures[name] = {key: round(spreads[AVERAGE].mean, 4) for key, spreads in measured.items()}
    return figures


def metrics(benchmarks: Sequence[BenchmarkSummary]) -> dict[str, Any]:
    """Return every average there is: means over seeds as fractions, rounded to six digits."""
    averages: dict[str, Any] = {}
    for benchmark in benchmarks:
        values: dict[str, Any] = {}
        if benchmark.id_accuracy is not None:
            values["id_accuracy"] = round(benchmark.id_accuracy, 6)
        if benchmark.calibration is not None:
            values["calibration_error"] = round(benchmark.calibration.error, 6)
        for method in benchmark.methods:
            values[method.name] = {
                key: {name: round(spread.mean, 6) for name, spread in method.measures[key].items()}
                for key in ("auroc", benchmark.fpr_key)
            }
        averages[benchmark.name] = values
    return averages

"""What was measured on one benchmark with one model, or without any: `reports/metrics/BENCHMARK/MODEL.json`."""

from __future__ import annotations

import statistics
from dataclasses import fields
from typing import Annotated, ClassVar, Literal

from pydantic import PlainSerializer
from pydantic.dataclasses import dataclass

from clipn.evaluation.results.base import Count, Fraction, OfBenchmark
from clipn.metrics.detection import fpr95_key

Need = Literal["yes", "no", "words", "images", "labels"]

BASELINES = "baselines"
"""What the file of the methods without the "No" text encoder is called."""
SAME = 1e-4
"""Fractions that are closer print the same."""


@dataclass(frozen=True)
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
    """Of the benchmark's own convention, as `fpr95_high`."""
    fpr95_high: Fraction


MEASURES = tuple(field.name for field in fields(Measures))


@dataclass(frozen=True)
class Decision:
    """Shares of images under a method's own decision, which needs no threshold."""

    id_kept: Fraction
    ood_refused: dict[str, Fraction]
    calibration_error: Fraction


@dataclass(frozen=True)
class MethodMetrics:
    """What one method reached on every OOD set."""

    trained: bool
    """Whether the method uses the "No" text encoder, so that its values depend on the seed."""
    needs: Annotated[frozenset[Need], PlainSerializer(sorted)]
    id_accuracy: Fraction | None
    """Of the method's own classifier, if it has one."""
    ood: dict[str, Measures]
    average: Measures
    """Over the OOD sets."""
    decision: Decision | None = None


@dataclass(frozen=True)
class Bin:
    """ID images whose class probability is alike: its mean, their accuracy, their share."""

    confidence: Fraction
    accuracy: Fraction
    share: Fraction


@dataclass(frozen=True)
class Calibration:
    """How far the class probability of zero-shot classification says how often it is right."""

    error: Fraction
    confidence: Fraction
    accuracy: Fraction
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class BenchmarkMetrics(OfBenchmark):
    """The metrics of all methods. All values are fractions."""

    KIND: ClassVar[str] = "a benchmark's metrics"

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
    methods: dict[str, MethodMetrics]
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
        """The name of the measure that is FPR95 in the benchmark's convention."""
        return fpr95_key(self.fpr_convention)

    def contradiction(self) -> str | None:
        """Return which set has no number, or which number does not follow from the others; None if all is well."""
        for field, names in (("images", (self.id, *self.ood)), ("left_out", self.ood)):
            for name in names:
                if name not in getattr(self, field):
                    return f"{field} has no number for the set {name!r}"
        for method, metrics in self.methods.items():
            if contradiction := self._contradiction_of(metrics):
                return f"methods.{method}.{contradiction}"
        return None

    def _contradiction_of(self, metrics: MethodMetrics) -> str | None:
        if metrics.trained != ("no" in metrics.needs):
            return f"trained is {metrics.trained}, but it needs {', '.join(sorted(metrics.needs))}"
        for ood in self.ood:
            if ood not in metrics.ood:
                return f"ood has no {ood}"
            if metrics.decision and ood not in metrics.decision.ood_refused:
                return f"decision.ood_refused has no {ood}"
        for key in ("auroc", "aupr_in", "aupr_out", self.fpr_key):
            mean = statistics.fmean(getattr(metrics.ood[ood], key) for ood in self.ood)
            average = getattr(metrics.average, key)
            if abs(mean - average) > SAME:
                return f"average.{key} is {average}, but the sets' mean is {mean:.6f}"
        return None

"""Whether a retrained model may take the accepted one's place, judged by the spread over training seeds.

For each benchmark, each method with a "No" text encoder, and AUROC and FPR95 on average over the OOD sets:

    fall      = mean over seeds of the accepted − mean over seeds of the new; for FPR95 the other way round
    s²        = ((a − 1) · s_a² + (n − 1) · s_n²) / (a + n − 2)
    noise     = t(confidence, a + n − 2) · s · √(1/a + 1/n)
    tolerance = the floor, or the noise if that is more, but never more than the ceiling

with a and n seeds, their sample standard deviations s_a and s_n, and the quantile t of Student's
distribution: the one-sided two-sample t-test. The result passes where fall ≤ tolerance everywhere.
With a single seed on both sides the spread is unknown, and the floor alone decides.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, NamedTuple

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass as checked_dataclass
from scipy.special import stdtrit

from clipn.config.types import STRICT
from clipn.errors import InvalidData
from clipn.metrics.detection import AVERAGE, CONVENTIONS, fpr95_key

_ROUNDING = 1e-9
"""Differences below this are arithmetic, not results."""

Fraction = Annotated[float, Field(ge=0, le=1)]


class Key(NamedTuple):
    """What one number is about. `metric` is `auroc` or `fpr95_CONVENTION`."""

    benchmark: str
    method: str
    metric: str

    def __str__(self) -> str:
        return " ".join(self)


Seeds = Mapping[Key, Mapping[str, tuple[float, ...]]]
"""Key → OOD set → a fraction for each seed."""
Means = Mapping[Key, float]
"""Key → the average over the OOD sets, a fraction."""


@checked_dataclass(frozen=True, config=STRICT)
class Limits:
    """How much worse than the accepted result a new one may be; all but `confidence` in fractions, so 0.01 is a point.

    The floors say which fall is too small to matter. The ceilings say which fall no spread excuses, so that a
    seed that went astray cannot hide behind the spread that it causes.
    """

    confidence: Annotated[
        float, Field(ge=0.5, lt=1, description="One-sided, of the t-test over the seeds, for each metric by itself")
    ] = 0.99
    auroc_floor: Annotated[Fraction, Field(description="A fall of AUROC up to this always passes")] = 0.005
    auroc_ceiling: Annotated[Fraction, Field(description="A fall of AUROC by more than this never passes")] = 0.03
    fpr95_floor: Annotated[Fraction, Field(description="A rise of FPR95 up to this always passes")] = 0.01
    fpr95_ceiling: Annotated[Fraction, Field(description="A rise of FPR95 by more than this never passes")] = 0.1

    @model_validator(mode="after")
    def _ordered(self) -> Limits:
        for name in ("auroc", "fpr95"):
            floor, ceiling = getattr(self, f"{name}_floor"), getattr(self, f"{name}_ceiling")
            if floor > ceiling:
                raise ValueError(f"{name}_floor, {floor}, has to be at most {name}_ceiling, {ceiling}")
        return self

    def bounds(self, metric: str) -> tuple[float, float]:
        """Floor and ceiling of a metric."""
        if metric == "auroc":
            return self.auroc_floor, self.auroc_ceiling
        return self.fpr95_floor, self.fpr95_ceiling


class Verdict(Enum):
    """What the gate says of one number."""

    PASSED = "passed"
    WORSE = "worse"
    MISSING = "missing"
    NEW = "new"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Row:
    """One number before and after, as fractions; None where there is none.

    Attributes:
        difference: new − accepted; for FPR95 less is better.
        note: what else one needs to read the row, such as the number of seeds.
    """

    key: Key
    verdict: Verdict
    accepted: float | None = None
    new: float | None = None
    tolerance: float | None = None
    note: str = ""

    @property
    def difference(self) -> float | None:
        return None if self.accepted is None or self.new is None else self.new - self.accepted

    @property
    def fails(self) -> bool:
        return self.verdict in (Verdict.WORSE, Verdict.MISSING)


def seeds_of(results: Mapping[str, Mapping[str, Any]]) -> Seeds:
    """Return the numbers that the gate checks.

    Args:
        results: benchmark → seed → content of `reports/metrics/BENCHMARK/seed-SEED.json`, which holds the methods
            with a "No" text encoder.

    Raises:
        InvalidData: a file lacks a number, has one that is no fraction, or not the methods and sets of the others.
    """
    numbers: dict[Key, dict[str, tuple[float, ...]]] = {}
    for benchmark, by_seed in results.items():
        for seed, content in by_seed.items():
            where = f"reports/metrics/{benchmark}/seed-{seed}.json"
            for key, by_set in _numbers(benchmark, content, where).items():
                of_key = numbers.setdefault(key, {})
                for ood, value in by_set.items():
                    of_key[ood] = (*of_key.get(ood, ()), value)
        for key, all_sets in numbers.items():
            uneven = [ood for ood, values in all_sets.items() if len(values) != len(by_seed)]
            if key.benchmark == benchmark and uneven:
                raise InvalidData(
                    f"reports/metrics/{benchmark}: not every seed of {', '.join(by_seed)} has {key.metric} of "
                    f"{key.method} on {', '.join(uneven)}; run 'dvc repro' to make them alike"
                )
    return numbers


def means_of(summary: Mapping[str, Any]) -> Means:
    """Return the averages over OOD sets in `reports/metrics.json`: all methods, also those without a "No" text encoder.

    Raises:
        InvalidData: an average is no fraction.
    """
    means = {
        Key(benchmark, method, metric): of_sets[AVERAGE]
        for benchmark, methods in summary.items()
        for method, metrics in _items(methods)
        for metric, of_sets in _items(metrics)
        if (metric == "auroc" or metric.startswith("fpr95_")) and isinstance(of_sets, Mapping) and AVERAGE in of_sets
    }
    for key, value in means.items():
        if not _is_fraction(value):
            raise InvalidData(f"reports/metrics.json: the average {key} is {value!r}, no fraction")
    return means


def compare(accepted: Seeds, new: Seeds, limits: Limits) -> list[Row]:
    """Compare the checked numbers, in the order of `accepted`, and last those that only `new` has."""
    rows = [_row(key, accepted[key], new.get(key), limits) for key in accepted]
    return [*rows, *(Row(key, Verdict.NEW, new=_average(new[key])) for key in new if key not in accepted)]


def compare_others(accepted: Means, new: Means, checked: Iterable[Key]) -> list[Row]:
    """Compare numbers that are not checked: those that changed or are new, for information, and those that vanished.

    Args:
        accepted, new: as from `means_of`.
        checked: what `compare` speaks of already.
    """
    done = {*checked}
    rows = []
    for key in [*accepted, *(key for key in new if key not in accepted)]:
        before, after = accepted.get(key), new.get(key)
        if key in done or before == after:
            continue
        verdict = Verdict.MISSING if after is None else Verdict.NEW if before is None else Verdict.NOT_CHECKED
        rows.append(Row(key, verdict, before, after))
    return rows


def noise(accepted: Sequence[float], new: Sequence[float], confidence: float) -> float | None:
    """Return by how much the mean of `new` falls below that of `accepted` by chance; None if neither has two values."""
    freedom = len(accepted) + len(new) - 2
    if freedom < 1:
        return None
    squares = sum((value - statistics.fmean(side)) ** 2 for side in (accepted, new) for value in side)
    return float(stdtrit(freedom, confidence)) * math.sqrt(squares / freedom * (1 / len(accepted) + 1 / len(new)))


def _row(key: Key, accepted: Mapping[str, tuple[float, ...]], new: Mapping[str, Any] | None, limits: Limits) -> Row:
    gone = [ood for ood in accepted if ood not in (new or {})]
    if new is None or gone:
        return Row(key, Verdict.MISSING, _average(accepted), note="" if new is None else f"without {', '.join(gone)}")
    # Another average than that over the same sets would compare apples with pears.
    before, after = _by_seed(accepted, accepted), _by_seed(new, accepted)
    spread = noise(before, after, limits.confidence)
    floor, ceiling = limits.bounds(key.metric)
    tolerance = min(max(floor, spread or 0.0), ceiling)
    notes = [f"{len(before)} and {len(after)} seeds" if spread is not None else "one seed, spread unknown: floor alone"]
    if more := [ood for ood in new if ood not in accepted]:
        notes.append(f"without {', '.join(more)}, new")
    mean_before, mean_after = statistics.fmean(before), statistics.fmean(after)
    fall = mean_before - mean_after if key.metric == "auroc" else mean_after - mean_before
    verdict = Verdict.WORSE if fall > tolerance + _ROUNDING else Verdict.PASSED
    return Row(key, verdict, mean_before, mean_after, tolerance, "; ".join(notes))


def _by_seed(values: Mapping[str, tuple[float, ...]], sets: Iterable[str]) -> list[float]:
    """The average over `sets` for each seed."""
    return [statistics.fmean(of_seed) for of_seed in zip(*(values[ood] for ood in sets), strict=True)]


def _average(values: Mapping[str, tuple[float, ...]]) -> float:
    return statistics.fmean(_by_seed(values, values))


def _items(value: Any) -> Iterable[tuple[str, Any]]:
    return value.items() if isinstance(value, Mapping) else ()


def _numbers(benchmark: str, content: Any, where: str) -> dict[Key, dict[str, float]]:
    """Both metrics of every method in one file."""
    try:
        convention = content["fpr_convention"]
        if convention not in CONVENTIONS:
            raise InvalidData(f"{where}: fpr_convention {convention!r} is none of {', '.join(CONVENTIONS)}")
        numbers = {
            Key(benchmark, method, metric): {ood: of_set[metric] for ood, of_set in measured["ood"].items()}
            for method, measured in content["methods"].items()
            for metric in ("auroc", fpr95_key(convention))
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidData(f"{where} has not the metrics that stage evaluate writes: {error!r}") from error
    for key, by_set in numbers.items():
        if not by_set:
            raise InvalidData(f"{where}: {key.method} has no OOD set")
        for ood, value in by_set.items():
            if not _is_fraction(value):
                raise InvalidData(f"{where}: {key.metric} of {key.method} on {ood} is {value!r}, no fraction")
    return numbers


def _is_fraction(value: Any) -> bool:
    """NaN is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1

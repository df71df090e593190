"""Runs with several seeds become one summary per benchmark. Pure functions of what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clipn.errors import InvalidData
from clipn.report.inputs import Run

AVERAGE = "average"

SAME = 1e-4
"""Values that are closer print the same; a method without training may not differ by more between seeds."""


@dataclass(frozen=True)
class Spread:
    """One number measured once per seed, as fractions; once in all if it does not depend on the seed."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def std(self) -> float | None:
        """Sample standard deviation (n - 1); None for a single value."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class DecisionSummary:
    id_kept: Spread
    ood_refused: dict[str, Spread]


@dataclass(frozen=True)
class MethodSummary:
    """`auroc` and `fpr95` hold every OOD set and, last, the average over the sets of each seed."""

    name: str
    """With an imported model's name in brackets, `CLIPN-ATD (NAME)`, if it was measured with one."""
    trained: bool
    auroc: dict[str, Spread]
    fpr95: dict[str, Spread]
    decision: DecisionSummary | None
    imported: str | None = None
    """Name of the imported model, for a method that was measured with one."""


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
    id_accuracy: float
    logit_scale: float
    templates: str
    images: dict[str, int]
    methods: tuple[MethodSummary, ...]
    """Those without training first, then those with the models trained here, each group in alphabetical
    order; last those with imported models, in the order of these."""
    imported: tuple[ImportedModel, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.ood, AVERAGE)

    @property
    def own_methods(self) -> tuple[MethodSummary, ...]:
        """Those that were not measured with an imported model."""
        return tuple(method for method in self.methods if method.imported is None)

    @property
    def ood_images(self) -> int:
        return sum(self.images[name] for name in self.ood)


def summarise(runs: Sequence[Run], imported: Sequence[Run] = ()) -> BenchmarkSummary:
    """Bring the runs of one benchmark together, one per seed, and those of imported models.

    Raises:
        InvalidData: the runs of the seeds differ in methods or settings, or a method without training has
            different values in them; or a run of an imported model is of other images or another convention.
    """
    first = runs[0]
    if AVERAGE in first.ood:
        raise InvalidData(f"benchmark {first.benchmark!r}: no set can be called {AVERAGE!r}; rename it in params.yaml")
    for run in runs[1:]:
        _check_alike(first, run)
    for run in imported:
        _check_settings(first, run, ("fpr_convention", "images"))
    names = sorted(first.methods, key=lambda name: (first.methods[name].trained, name.casefold(), name))
    return BenchmarkSummary(
        name=first.benchmark,
        id=first.id,
        ood=first.ood,
        seeds=tuple(run.seed for run in runs if run.seed is not None),
        fpr_convention=first.fpr_convention,
        fpr_key=first.fpr_key,
        id_accuracy=statistics.fmean(run.id_accuracy for run in runs),
        logit_scale=first.logit_scale,
        templates=first.templates,
        images={name: first.images[name] for name in (first.id, *first.ood)},
        methods=(
            *(_method(name, runs) for name in names),
            *(_method(name, [run]) for run in imported for name in sorted(run.methods)),
        ),
        imported=tuple(ImportedModel(str(run.imported), run.logit_scale, run.templates) for run in imported),
    )


def row_name(method: str, run: Run) -> str:
    """What a method is called in tables and plots: `CLIPN-ATD`, or `CLIPN-ATD (NAME)` with an imported model."""
    return method if run.imported is None else f"{method} ({run.imported})"


def metrics(benchmarks: Sequence[BenchmarkSummary]) -> dict[str, Any]:
    """What `dvc metrics` compares: means over seeds as fractions, rounded to six digits."""
    return {
        benchmark.name: {
            "id_accuracy": round(benchmark.id_accuracy, 6),
            **{
                method.name: {
                    key: {name: round(spread.mean, 6) for name, spread in spreads.items()}
                    for key, spreads in (("auroc", method.auroc), (benchmark.fpr_key, method.fpr95))
                }
                for method in benchmark.methods
            },
        }
        for benchmark in benchmarks
    }


def headline(benchmark: BenchmarkSummary) -> list[str]:
    """What was measured and which method won, in sentences, whichever way it went."""
    n = len(benchmark.ood)
    top = best(benchmark.methods)
    lowest = min(benchmark.methods, key=lambda method: method.fpr95[AVERAGE].mean)
    if lowest is top:
        fpr = f"It also has the lowest average FPR95, {percent(top.fpr95[AVERAGE])}."
    else:
        fpr = f"Lowest average FPR95: {lowest.name} with {percent(lowest.fpr95[AVERAGE])}."
    sentences = [
        f"{benchmark.images[benchmark.id]:,} images of {benchmark.id} (ID) against {benchmark.ood_images:,} images "
        f"of {n} OOD {'set' if n == 1 else 'sets'}. Zero-shot ID accuracy is {100 * benchmark.id_accuracy:.2f} %.",
        f"Best average AUROC: {top.name} with {percent(top.auroc[AVERAGE])}. {fpr}",
    ]
    with_no_encoder = [method for method in benchmark.own_methods if method.trained]
    others = [method for method in benchmark.own_methods if not method.trained]
    if with_no_encoder and others:
        sentences.append(_verdict(best(with_no_encoder), best(others)))
    return sentences


def best(methods: Sequence[MethodSummary]) -> MethodSummary:
    """The method with the highest average AUROC."""
    return max(methods, key=lambda method: method.auroc[AVERAGE].mean)


def percent(spread: Spread) -> str:
    """`76.12 ± 0.50`, or without ± for a single value."""
    return f"{100 * spread.mean:.2f}" + (f" ± {100 * spread.std:.2f}" if spread.std is not None else "")


def _verdict(clipn: MethodSummary, other: MethodSummary) -> str:
    ours, theirs = clipn.auroc[AVERAGE], other.auroc[AVERAGE]
    points = round(100 * ours.mean, 2) - round(100 * theirs.mean, 2)  # the difference of what is printed
    result = "beats" if points > 0 else "loses to"
    if ours.std is None:
        caution = "; with one seed, how far that would vary is unknown"
    elif abs(points) <= 100 * ours.std:
        caution = ", which is within one standard deviation over seeds and therefore shows no difference"
    else:
        caution = ""
    return (
        f"With the trained no encoder the best method is {clipn.name} ({percent(ours)}). It {result} the best one "
        f"without, {other.name} ({percent(theirs)}), by {abs(points):.2f} points of average AUROC{caution}."
    )


def _check_alike(first: Run, run: Run) -> None:
    where = _file(run)
    absent = sorted(first.methods.keys() ^ run.methods.keys())
    if absent:
        raise InvalidData(f"{where} and {first.model}.json do not share {', '.join(absent)}; run 'dvc repro'")
    _check_settings(first, run, ("fpr_convention", "logit_scale", "templates", "images"))
    for name, method in run.methods.items():
        if method.trained != first.methods[name].trained:
            raise InvalidData(f"{where}: methods.{name}.trained differs from {first.model}.json; run 'dvc repro'")
        for ood in run.ood if not method.trained else ():
            for key in ("auroc", run.fpr_key):
                value, expected = method.ood[ood][key], first.methods[name].ood[ood][key]
                if abs(value - expected) > SAME:
                    raise InvalidData(
                        f"{where}: {name} is not trained, yet its {key} on {ood} is {value}, "
                        f"but {expected} in {first.model}.json; run 'dvc repro'"
                    )


def _check_settings(first: Run, run: Run, fields: Sequence[str]) -> None:
    for field in fields:
        if getattr(first, field) != getattr(run, field):
            raise InvalidData(
                f"{_file(run)}: {field} is {getattr(run, field)!r}, but {getattr(first, field)!r} in "
                f"{first.model}.json; run 'dvc repro'"
            )


def _file(run: Run) -> str:
    return f"reports/metrics/{run.benchmark}/{run.model}.json"


def _method(name: str, runs: Sequence[Run]) -> MethodSummary:
    trained = runs[0].methods[name].trained
    results = [run.methods[name] for run in (runs if trained else runs[:1])]
    ood = runs[0].ood

    def spreads(key: str) -> dict[str, Spread]:
        per_set = {s: Spread(tuple(result.ood[s][key] for result in results)) for s in ood}
        averages = tuple(statistics.fmean(result.ood[s][key] for s in ood) for result in results)
        return {**per_set, AVERAGE: Spread(averages)}

    decisions = [result.decision for result in results if result.decision is not None]
    summary = None
    if len(decisions) == len(results):
        summary = DecisionSummary(
            Spread(tuple(d.id_kept for d in decisions)),
            {s: Spread(tuple(d.ood_refused[s] for d in decisions)) for s in ood},
        )
    return MethodSummary(
        row_name(name, runs[0]), trained, spreads("auroc"), spreads(runs[0].fpr_key), summary, runs[0].imported
    )

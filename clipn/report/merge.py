"""Runs of one benchmark become one summary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clipn import paths, scores
from clipn.errors import InvalidData
from clipn.evaluation.results.benchmark import MEASURES, BenchmarkMetrics
from clipn.report.summary import (
    AVERAGE,
    GROUPS,
    BenchmarkSummary,
    DecisionSummary,
    ImportedModel,
    MethodSummary,
    Spread,
)


def summarise(
    baselines: BenchmarkMetrics, runs: Sequence[BenchmarkMetrics], imported: Sequence[BenchmarkMetrics] = ()
) -> BenchmarkSummary:
    """Bring together what was measured on one benchmark.

    Args:
        baselines: the methods without the "No" text encoder.
        runs: those with it, one run for each seed.
        imported: those with it, one run for each imported model.

    Raises:
        InvalidData: the runs of the seeds differ in methods or settings, a run is of other images or another
            convention, or a name stands for something else.
    """
    _check_names(baselines)
    for run in runs[1:]:
        _check_alike(runs[0], run)
    for run in runs[:1]:
        _check_settings(baselines, run, ("fpr_convention", "logit_scale", "images", "leave_out", "left_out"))
    for run in imported:
        _check_settings(baselines, run, ("fpr_convention", "images", "leave_out", "left_out"))
    methods = [
        *(_method(name, [baselines]) for name in baselines.methods),
        *(_method(name, runs) for run in runs[:1] for name in run.methods),
        *(_method(name, [run]) for run in imported for name in run.methods),
    ]
    skipped = {row_name(name, run): why for run in (baselines, *runs, *imported) for name, why in run.skipped.items()}
    return BenchmarkSummary(
        name=baselines.benchmark,
        id=baselines.id,
        ood=baselines.ood,
        seeds=tuple(run.seed for run in runs if run.seed is not None),
        fpr_convention=baselines.fpr_convention,
        fpr_key=baselines.fpr_key,
        id_accuracy=baselines.id_accuracy,
        calibration=baselines.calibration,
        logit_scale=baselines.logit_scale,
        templates=baselines.templates,
        images={name: baselines.images[name] for name in (baselines.id, *baselines.ood)},
        methods=tuple(sorted(methods, key=place)),
        imported=tuple(ImportedModel(str(run.imported), run.logit_scale, run.templates) for run in imported),
        trained_templates=next((run.templates for run in runs[:1] if run.templates != baselines.templates), ""),
        leave_out=baselines.leave_out,
        left_out={name: baselines.left_out[name] for name in baselines.ood},
        skipped=skipped,
    )


def require_methods(benchmark: BenchmarkSummary) -> None:
    """Refuse a benchmark with nothing to show.

    Raises:
        InvalidData: no method could be measured.
    """
    if not benchmark.methods:
        reasons = "; ".join(f"{name} {why}" for name, why in benchmark.skipped.items())
        raise InvalidData(
            f"benchmark {benchmark.name!r}: no method was measured ({reasons}); give it a method that it can feed"
        )


def row_name(method: str, run: BenchmarkMetrics) -> str:
    """Return a method's name in tables and plots: `CLIPN-ATD`, or `CLIPN-ATD (NAME)` with an imported model."""
    return method if run.imported is None else f"{method} ({run.imported})"


def place(method: MethodSummary) -> tuple[Any, ...]:
    """Return what methods are sorted by."""
    return GROUPS.index(method.group), method.imported or "", *rank(method.base)


def rank(score: str) -> tuple[int, str, str]:
    """Return what scores are sorted by: their place in `scores.REGISTRY`, then their names."""
    order = {name: i for i, name in enumerate(scores.REGISTRY)}
    return order.get(score, len(order)), score.casefold(), score


def _check_names(baselines: BenchmarkMetrics) -> None:
    if AVERAGE in baselines.ood:
        raise InvalidData(
            f"benchmark {baselines.benchmark!r}: no set can be called {AVERAGE!r}; rename it in params.yaml"
        )


def _check_alike(first: BenchmarkMetrics, run: BenchmarkMetrics) -> None:
    if absent := sorted(first.methods.keys() ^ run.methods.keys()):
        raise InvalidData(f"{_file(run)} and {first.model}.json do not share {', '.join(absent)}; run 'dvc repro'")
    _check_settings(first, run, ("fpr_convention", "logit_scale", "templates", "images", "leave_out", "left_out"))
    for name, method in run.methods.items():
        if method.needs != first.methods[name].needs:
            raise InvalidData(f"{_file(run)}: methods.{name}.needs differs from {first.model}.json; run 'dvc repro'")


def _check_settings(first: BenchmarkMetrics, run: BenchmarkMetrics, names: Sequence[str]) -> None:
    for name in names:
        if getattr(first, name) != getattr(run, name):
            raise InvalidData(
                f"{_file(run)}: {name} is {getattr(run, name)!r}, but {getattr(first, name)!r} in "
                f"{first.model}.json; run 'dvc repro'"
            )


def _file(run: BenchmarkMetrics) -> str:
    return str(paths.METRICS / run.benchmark / f"{run.model}.json")


def _method(name: str, runs: Sequence[BenchmarkMetrics]) -> MethodSummary:
    results = [run.methods[name] for run in runs]
    ood = runs[0].ood

    def spreads(key: str) -> dict[str, Spread]:
        per_set = {s: Spread(tuple(getattr(result.ood[s], key) for result in results)) for s in ood}
        return {**per_set, AVERAGE: Spread(tuple(getattr(result.average, key) for result in results))}

    accuracies = [result.id_accuracy for result in results if result.id_accuracy is not None]
    decisions = [result.decision for result in results if result.decision is not None]
    decision = None
    if len(decisions) == len(results):
        decision = DecisionSummary(
            Spread(tuple(d.id_kept for d in decisions)),
            {s: Spread(tuple(d.ood_refused[s] for d in decisions)) for s in ood},
            Spread(tuple(d.calibration_error for d in decisions)),
        )
    return MethodSummary(
        name=row_name(name, runs[0]),
        base=name,
        needs=frozenset(results[0].needs),
        measures={key: spreads(key) for key in MEASURES},
        fpr_key=runs[0].fpr_key,
        id_accuracy=Spread(tuple(accuracies)) if len(accuracies) == len(results) else None,
        decision=decision,
        imported=runs[0].imported,
    )

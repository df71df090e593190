"""The benchmarks that were evaluated, each in a section of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipn import scores
from clipn.config import Params
from clipn.errors import InvalidParams
from clipn.evaluation.results.benchmark import BASELINES
from clipn.report import curves, merge, summary
from clipn.report.inputs import metrics, score_files
from clipn.report.inputs.score_files import Scores
from clipn.report.part import Part
from clipn.report.render.document import Section
from clipn.report.render.plots import Style
from clipn.report.sections import benchmark, overlaps
from clipn.report.sections.benchmark import Measured
from clipn.report.summary import BenchmarkSummary


@dataclass(frozen=True)
class Benchmarks(Part):
    """Every evaluated benchmark; those on which choices are made follow the others."""

    params: Params
    measured: dict[str, Measured]
    """By name, in the order in which they are shown."""

    @classmethod
    def read(cls, root: Path, params: Params) -> Benchmarks:
        """Read metrics, scores and duplicates, and compare the methods.

        Raises:
            InvalidData: a model's file is missing, a method is missing in one seed, no method was measured, or a
                file is damaged or of other sets.
            InvalidParams: a benchmark is validated on one that was not evaluated.
            MissingInput: the numbers of duplicates are missing.
            NonFinite: a file holds NaN or an infinity.
        """
        names = params.evaluate.benchmarks
        validation = {name: params.benchmarks[name].validation for name in names}
        for name, other in validation.items():
            if other is not None and other not in names:
                raise InvalidParams(
                    f"benchmarks.{name}.validation: {other!r} was not evaluated; known: {', '.join(names)}"
                )
        order = sorted(names, key=lambda name: name in validation.values())
        measured = {name: _read(root, name, params, name in validation.values()) for name in order}
        for name in order:
            if (other := validation[name]) is not None:
                measured[name] = measured[name].validated(measured[other].summary, scores.COMBINED)
        return cls(params, measured)

    @property
    def summaries(self) -> list[BenchmarkSummary]:
        """Return the numbers of all benchmarks."""
        return [measured.summary for measured in self.measured.values()]

    def sections(self, styles: Mapping[str, Style]) -> list[Section]:
        """Lay out one section a benchmark."""
        published = self.params.report.published
        return [benchmark.section(measured, styles, with_published=published) for measured in self.measured.values()]

    def drawn(self) -> dict[str, bool]:
        """Return the methods that are drawn, and of each whether it uses the "No" text encoder."""
        return {name: m.summary.by_name[name].trained for m in self.measured.values() for name in m.drawn.roc}

    def plot_data(self) -> dict[str, str]:
        """Return ROC curves and histograms, a file for each benchmark, and AUROC of all."""
        drawn = {name: measured.drawn for name, measured in self.measured.items()}
        return {
            **{f"roc/{name}.csv": curves.roc_csv(d.roc) for name, d in drawn.items()},
            **{f"histograms/{name}.csv": curves.histograms_csv(d.histograms) for name, d in drawn.items()},
            "average.csv": curves.average_csv(self.summaries),
            "auroc.csv": curves.auroc_csv(self.summaries),
        }

    def metrics(self) -> dict[str, Any]:
        """Return benchmark → method → metric → set → mean over seeds."""
        return summary.metrics(self.summaries)

    def benchmarks(self) -> list[str]:
        """Return the names of the benchmarks in the order in which they are shown."""
        return list(self.measured)

    def stages(self) -> list[str]:
        """Return the names of the stages that trained and evaluated."""
        seeds, imported = self.params.train.seeds, self.params.evaluate.imported
        return [
            *(f"train-{seed}" for seed in seeds),
            *(f"overlap-{name}" for name in self.measured),
            *(f"baselines-{name}" for name in self.measured),
            *(f"evaluate-{name}-{seed}" for name in self.measured for seed in seeds),
            *(f"evaluate_imported-{name}-{model}" for name in self.measured for model in imported),
        ]


def _read(root: Path, name: str, params: Params, validates: bool) -> Measured:
    """Read all runs of one benchmark."""
    sets = params.benchmarks[name]
    seeds = [f"seed-{seed}" for seed in params.train.seeds]
    models = [BASELINES, *seeds, *(f"imported-{model}" for model in params.evaluate.imported)]
    runs = [metrics.read_run(root, name, sets, model) for model in models]
    first_imported = 1 + len(seeds)
    merged = merge.summarise(runs[0], runs[1:first_imported], runs[first_imported:])
    merge.require_methods(merged)
    by_row: dict[str, list[Scores]] = {}
    for run, by_method in zip(runs, score_files.read(root, runs), strict=True):
        for method, values in by_method.items():
            by_row.setdefault(merge.row_name(method, run), []).append(values)
    return benchmark.measure(
        merged,
        by_row,
        curves.drawn_of(params.report.curves, merged),
        overlaps.read(root, name, sets),
        validates=validates,
    )

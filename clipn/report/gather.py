"""Everything that a report shows, read before anything of it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clipn import scores
from clipn.config import BenchmarkParams
from clipn.errors import InvalidParams
from clipn.evaluation.results.benchmark import BASELINES
from clipn.evaluation.results.robustness import RobustnessResult
from clipn.report import curves, merge
from clipn.report.inputs import metrics, samples, score_files, stages, training
from clipn.report.sections import appendix, attack, benchmark, overlaps, robustness, study


@dataclass(frozen=True)
class Asked:
    """What a report is made of; the arguments of `clipn.report.build`."""

    names: Sequence[str]
    benchmarks: Mapping[str, BenchmarkParams]
    seeds: Sequence[int]
    imported: Sequence[str]
    studies: Sequence[str]
    study_benchmarks: Sequence[str]
    attacks: Sequence[str]
    robust: Sequence[str]
    wanted: Sequence[str]
    """Methods to draw."""

    @property
    def validating(self) -> set[str | None]:
        """Benchmarks on which choices are made."""
        return {self.benchmarks[name].validation for name in self.names}

    @property
    def order(self) -> list[str]:
        """The benchmarks as they are shown: those on which choices are made follow the others."""
        return sorted(self.names, key=lambda name: name in self.validating)

    @property
    def stages(self) -> list[str]:
        """Names of the stages that led here, in their order; reports of another profile's may lie beside theirs."""
        used = dict.fromkeys((*self.order, *self.study_benchmarks, *self.attacks, *self.robust))
        of_benchmarks = [self.benchmarks[name] for name in used]
        fit = [sets.fit for sets in of_benchmarks if sets.fit is not None]
        sets = dict.fromkeys([*(name for sets in of_benchmarks for name in (sets.id, *sets.ood)), *fit])
        return [
            *("captions", "download", "backbone", "features", "words"),
            *(f"{stage}-{name}" for stage in ("sets", "set_features") for name in sets),
            *(f"train-{seed}" for seed in self.seeds),
            *(f"overlap-{name}" for name in self.order),
            *(f"baselines-{name}" for name in self.order),
            *(f"evaluate-{name}-{seed}" for name in self.order for seed in self.seeds),
            *(f"evaluate_imported-{name}-{model}" for name in self.order for model in self.imported),
            *(f"{stage}-{name}" for stage in ("study_backbone", "study_features", "study") for name in self.studies),
            *(f"attack-{name}" for name in self.attacks),
            *(f"robustness-{name}" for name in self.robust),
        ]


@dataclass(frozen=True)
class Results:
    """What was read."""

    benchmarks: dict[str, benchmark.Measured]
    """In the order in which they are shown."""
    studies: list[study.Study]
    attacks: list[attack.Attack]
    robust: list[RobustnessResult]
    training: dict[int, dict[str, training.Curve]]
    """Seed → curves."""
    samples: dict[str, list[samples.Sample]]
    """Set → images."""
    stages: list[stages.Stage]

    def drawn(self, asked: Asked) -> dict[str, bool]:
        """Every method that is drawn anywhere, and whether it uses the no encoder."""
        found = {name: m.summary.by_name[name].trained for m in self.benchmarks.values() for name in m.drawn.roc}
        for name in asked.study_benchmarks:
            trained = {method.name: method.trained for method in study.methods(self.studies, name)}
            found.update({method: trained[method] for method in study.drawn(asked.wanted, self.studies, name)})
        for robust in self.robust:
            found.update({method: robust.trained[method] for method in robustness.drawn(asked.wanted, robust)})
        return found


def read(root: Path, asked: Asked) -> Results:
    """Read it from the files of earlier stages under `root`.

    Raises:
        As `clipn.report.build`.
    """
    for name in asked.names:
        other = asked.benchmarks[name].validation
        if other is not None and other not in asked.names:
            known = ", ".join(asked.names)
            raise InvalidParams(f"benchmarks.{name}.validation: {other!r} was not evaluated; known: {known}")
    measured = {name: _measured(root, name, asked) for name in asked.order}
    for name, of_benchmark in measured.items():
        validation = asked.benchmarks[name].validation
        if validation is not None:
            measured[name] = of_benchmark.validated(measured[validation].summary, scores.COMBINED)
    sets = dict.fromkeys(name for m in measured.values() for name in (m.summary.id, *m.summary.ood))
    return Results(
        benchmarks=measured,
        studies=study.read(root, asked.studies, {name: asked.benchmarks[name] for name in asked.study_benchmarks}),
        attacks=[attack.read(root, name, asked.benchmarks[name]) for name in asked.attacks],
        robust=[robustness.read(root, name, asked.benchmarks[name]) for name in asked.robust],
        training={seed: training.read(root, seed) for seed in asked.seeds},
        samples={name: samples.read(root, name, appendix.TILES) for name in sets},
        stages=stages.read(root, asked.stages),
    )


def _measured(root: Path, name: str, asked: Asked) -> benchmark.Measured:
    models = [BASELINES, *(f"seed-{s}" for s in asked.seeds), *(f"imported-{m}" for m in asked.imported)]
    runs = [metrics.read_run(root, name, asked.benchmarks[name], model) for model in models]
    first_imported = 1 + len(asked.seeds)
    summary = merge.summarise(runs[0], runs[1:first_imported], runs[first_imported:])
    merge.require_methods(summary)
    of_rows: dict[str, list[score_files.Scores]] = {}
    for run, of_methods in zip(runs, score_files.read(root, runs), strict=True):
        for method, of_method in of_methods.items():
            of_rows.setdefault(merge.row_name(method, run), []).append(of_method)
    return benchmark.measure(
        summary,
        of_rows,
        curves.drawn_of(asked.wanted, summary),
        overlaps.read(root, name, asked.benchmarks[name]),
        validates=name in asked.validating,
    )

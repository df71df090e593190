"""The feature study: every backbone with every method, and whether ID accuracy foretells detection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from clipn import paths
from clipn.config import BenchmarkParams, Params
from clipn.errors import InvalidData
from clipn.evaluation.results.study import StudyResult
from clipn.report import curves, merge
from clipn.report.part import Part
from clipn.report.render import pictures, plots
from clipn.report.render.document import Block, Cell, Column, Figure, Gallery, Grid, Number, Row, Section, Text
from clipn.report.render.plots import Line, Point, Style
from clipn.report.sections.table import grouped
from clipn.report.summary import AVERAGE, BenchmarkSummary, MethodSummary

FEWEST = 3
"""Points through which a line says anything: two always lie on one."""


@dataclass(frozen=True)
class Study:
    """One backbone."""

    backbone: str
    origin: str
    """Where its weights come from, in words."""
    dim: int
    """Length of a feature."""
    pooled: int
    """Length of a feature before the projection; 0 without."""
    benchmarks: dict[str, BenchmarkSummary]

    def accuracy(self, benchmark: str, method: MethodSummary) -> float | None:
        """Return that of the method's own classifier, else that of zero-shot classification; None without either."""
        if method.id_accuracy is not None:
            return method.id_accuracy.mean
        return self.benchmarks[benchmark].id_accuracy


@dataclass(frozen=True)
class Studies(Part):
    """All backbones on all benchmarks of the study."""

    KEY: ClassVar[str] = "study"
    params: Params
    studies: list[Study]

    @classmethod
    def read(cls, root: Path, params: Params) -> Studies:
        """Read the result of every backbone in `study.backbones`."""
        benchmarks = {name: params.benchmarks[name] for name in params.study.benchmarks}
        return cls(params, read(root, tuple(params.study.backbones), benchmarks))

    def sections(self, styles: Mapping[str, Style]) -> list[Section]:
        """Lay out one section; none without backbones."""
        wanted = self.params.report.curves
        return [section(self.studies, self.params.study.benchmarks, wanted, styles)] if self.studies else []

    def drawn(self) -> dict[str, bool]:
        """Return the methods that are drawn, and of each whether it uses the "No" text encoder."""
        shown: dict[str, bool] = {}
        for name in self.benchmarks():
            trained = {method.name: method.trained for method in methods(self.studies, name)}
            shown |= {method: trained[method] for method in drawn(self.params.report.curves, self.studies, name)}
        return shown

    def plot_data(self) -> dict[str, str]:
        """Return ID accuracy and AUROC of every method with every backbone."""
        return {"study.csv": as_csv(self.studies, self.params.study.benchmarks)} if self.studies else {}

    def metrics(self) -> dict[str, Any]:
        """Return backbone → benchmark → method → average AUROC."""
        return metrics(self.studies)

    def benchmarks(self) -> list[str]:
        """Return the names of the benchmarks of the study."""
        return list(self.params.study.benchmarks)

    def stages(self) -> list[str]:
        """Return the names of the stages of every backbone."""
        stages = ("study_backbone", "study_features", "study")
        return [f"{stage}-{name}" for stage in stages for name in self.params.study.backbones]


def read(root: Path, names: Sequence[str], benchmarks: Mapping[str, BenchmarkParams]) -> list[Study]:
    """Read `reports/study/<name>.json` of every backbone, with the results on `benchmarks` (name → its sets).

    Raises:
        MissingInput: a file does not exist.
        InvalidData: a file is of another backbone, or lacks a field or a benchmark.
        NonFinite: a value is NaN or infinite.
    """
    return [_read(root / paths.STUDIES / f"{name}.json", name, benchmarks) for name in names]


def _read(path: Path, name: str, benchmarks: Mapping[str, BenchmarkParams]) -> Study:
    result = StudyResult.read(path)
    if result.backbone != name:
        raise InvalidData(f"{path} is of the backbone {result.backbone!r}; run 'dvc repro'")
    summaries = {}
    for benchmark, sets in benchmarks.items():
        if benchmark not in result.benchmarks:
            raise InvalidData(
                f"{path} has no benchmark {benchmark!r}, which study.benchmarks asks for; run 'dvc repro'"
            )
        metrics = result.benchmarks[benchmark]
        metrics.require(f"{path}: benchmarks.{benchmark}", benchmark, sets)
        summaries[benchmark] = merge.summarise(metrics, [])
    return Study(name, result.origin, result.dim, result.pooled, summaries)


def fit(points: Sequence[Point]) -> Line | None:
    """Return the line of least squares; None for fewer than `FEWEST` points, or where x or y does not vary."""
    x, y = [point.x for point in points], [point.y for point in points]
    if len(points) < FEWEST or len(set(x)) == 1 or len(set(y)) == 1:
        return None
    slope, intercept = np.polyfit(x, y, 1)
    return Line(float(slope), float(intercept), float(np.corrcoef(x, y)[0, 1] ** 2))


def methods(studies: Sequence[Study], benchmark: str) -> list[MethodSummary]:
    """Return all methods that were measured with any backbone, each once, in the order of tables."""
    by_name = {method.name: method for study in studies for method in study.benchmarks[benchmark].methods}
    return sorted(by_name.values(), key=merge.place)


def drawn(wanted: Sequence[str], studies: Sequence[Study], benchmark: str) -> tuple[str, ...]:
    """Return which methods the picture shows: those wanted, else the best ones on the mean of the backbones."""
    values: dict[str, list[float]] = {}
    for study in studies:
        for method in study.benchmarks[benchmark].methods:
            values.setdefault(method.name, []).append(method.auroc[AVERAGE].mean)
    return curves.drawn(wanted, {name: float(np.mean(of_method)) for name, of_method in values.items()})


def points(studies: Sequence[Study], benchmark: str, names: Iterable[str]) -> list[Point]:
    """Return ID accuracy and average AUROC of methods, in percent; backbones without an accuracy give none."""
    shown = []
    for name in names:
        for study in studies:
            method = study.benchmarks[benchmark].by_name.get(name)
            if method is not None and (accuracy := study.accuracy(benchmark, method)) is not None:
                shown.append(Point(name, study.backbone, 100 * accuracy, 100 * method.auroc[AVERAGE].mean))
    return shown


def section(
    studies: Sequence[Study], benchmarks: Sequence[str], wanted: Sequence[str], styles: Mapping[str, Style]
) -> Section:
    """Tables and pictures; within `plots.themed()`.

    Args:
        studies: one for each backbone.
        benchmarks: those that all of them were measured on.
        wanted: methods to draw.
        styles: of all methods that are drawn.
    """
    blocks: list[Block] = [
        Text(
            "Every backbone of study.backbones with every method of study.methods that it can feed (arXiv 2303.05828).",
            "note",
        ),
        _backbones(studies),
    ]
    for benchmark in benchmarks:
        blocks += _benchmark(studies, benchmark, drawn(wanted, studies, benchmark), styles)
    return Section("Feature study", tuple(blocks))


def _backbones(studies: Sequence[Study]) -> Grid:
    columns = (Column("backbone"), Column("dimensions"), Column("before the projection"), Column("weights", words=True))
    rows = (Row(s.backbone, (str(s.dim), str(s.pooled) if s.pooled else "–", s.origin)) for s in studies)
    return Grid("Backbones", columns, tuple(rows))


def _benchmark(
    studies: Sequence[Study], benchmark: str, names: Sequence[str], styles: Mapping[str, Style]
) -> Iterable[Block]:
    every = points(studies, benchmark, [method.name for method in methods(studies, benchmark)])
    overall = fit(every)
    together = f"All methods together: R² {overall.r_squared:.2f} over {len(every)} points. " if overall else ""
    fits = {method.name: line for method in methods(studies, benchmark) if (line := fit(_of(every, method.name)))}
    yield Text(f"Feature study on {benchmark}", "heading")
    yield Text(
        "Upper number: AUROC averaged over the OOD sets; lower number: ID accuracy of the method's own classifier, "
        "or of zero-shot classification where it has none; both in percent. R² is the share of the AUROC's variance "
        f"over backbones that a straight line over ID accuracy explains. {together}"
        + (
            f"With fewer than {FEWEST} backbones there is no R² of a method."
            if len(studies) < FEWEST
            else f"There is none of methods with fewer than {FEWEST} backbones, or where either does not vary."
        ),
        "note",
    )
    yield _grid(studies, benchmark, fits)
    chosen = [point for point in every if point.method in names]
    if chosen:
        picture = pictures.svg(
            plots.scatter_figure(chosen, fits, styles),
            f"Average AUROC over ID accuracy of {', '.join(names)} with {len(studies)} backbones on {benchmark}; "
            "the table holds the numbers.",
        )
        yield Gallery((Figure(picture, "ID accuracy and detection"),), "wide")


def _grid(studies: Sequence[Study], benchmark: str, fits: Mapping[str, Line]) -> Grid:
    highest = {
        study.backbone: max((_shown(m) for m in study.benchmarks[benchmark].methods), default=0.0) for study in studies
    }

    def rows(method: MethodSummary) -> Iterable[Row]:
        cells: list[Cell] = []
        for study in studies:
            measured = study.benchmarks[benchmark].by_name.get(method.name)
            if measured is None:
                cells.append("–")
                continue
            accuracy = study.accuracy(benchmark, measured)
            best = _shown(measured) == highest[study.backbone]
            cells.append(
                (
                    Number(f"{_shown(measured):.2f}", "best" if best else ""),
                    Number("–" if accuracy is None else f"{100 * accuracy:.2f}"),
                )
            )
        yield Row(method.name, (*cells, f"{fits[method.name].r_squared:.2f}" if method.name in fits else "–"))

    return Grid(
        label=f"Feature study on {benchmark}",
        columns=(
            Column("method", "AUROC / ID accuracy"),
            *(Column(study.backbone) for study in studies),
            Column("R²", total=True),
        ),
        rows=tuple(grouped(methods(studies, benchmark), rows)),
    )


def _of(points: Sequence[Point], method: str) -> list[Point]:
    return [point for point in points if point.method == method]


def _shown(method: MethodSummary) -> float:
    return round(100 * method.auroc[AVERAGE].mean, 2)


def as_csv(studies: Sequence[Study], benchmarks: Sequence[str]) -> str:
    """Return ID accuracy and average AUROC as fractions, one row a benchmark, backbone and method.

    A cell is empty where there is no accuracy.
    """
    return curves.csv_text(("benchmark", "backbone", "method", "id_accuracy", "auroc"), _csv_rows(studies, benchmarks))


def _csv_rows(studies: Sequence[Study], benchmarks: Sequence[str]) -> Iterable[Sequence[str]]:
    for benchmark in benchmarks:
        for study in studies:
            for method in study.benchmarks[benchmark].methods:
                accuracy = study.accuracy(benchmark, method)
                shown = "" if accuracy is None else f"{accuracy:.6f}"
                yield benchmark, study.backbone, method.name, shown, f"{method.auroc[AVERAGE].mean:.6f}"


def metrics(studies: Sequence[Study]) -> dict[str, Any]:
    """Return backbone → benchmark → method → average AUROC, for `dvc metrics`."""
    return {
        study.backbone: {
            name: {m.name: {"auroc": round(m.auroc[AVERAGE].mean, 6)} for m in benchmark.methods}
            for name, benchmark in study.benchmarks.items()
        }
        for study in studies
    }

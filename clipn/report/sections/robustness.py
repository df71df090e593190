"""How far detection holds when images are corrupted and classes are named otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from clipn import paths
from clipn.config import BenchmarkParams, Params
from clipn.evaluation.results.robustness import Condition, RobustnessResult
from clipn.report import curves, merge
from clipn.report.part import Part
from clipn.report.render import pictures, plots
from clipn.report.render.document import Block, Column, Figure, Gallery, Grid, Row, Section, Text
from clipn.report.render.plots import Style
from clipn.report.summary import Spread, percent, signed

UNITS = {
    "noise": "Noise: std in grey levels",
    "blur": "Blur: radius in pixels",
    "jpeg": "JPEG: quality",
}


@dataclass(frozen=True)
class RobustnessOfBenchmarks(Part):
    """The benchmarks with corrupted images and renamed classes."""

    KEY: ClassVar[str] = "robustness"
    params: Params
    results: list[RobustnessResult]

    @classmethod
    def read(cls, root: Path, params: Params) -> RobustnessOfBenchmarks:
        """Read the result on every benchmark in `robustness.benchmarks`."""
        return cls(params, [read(root, name, params.benchmarks[name]) for name in params.robustness.benchmarks])

    def sections(self, styles: Mapping[str, Style]) -> list[Section]:
        """Lay out one section; none without results."""
        return [section(self.results, self.params.report.curves, styles)] if self.results else []

    def drawn(self) -> dict[str, bool]:
        """Return the methods that are drawn, and of each whether it uses the "No" text encoder."""
        wanted = self.params.report.curves
        return {method: result.trained[method] for result in self.results for method in drawn(wanted, result)}

    def plot_data(self) -> dict[str, str]:
        """Return AUROC of every method under every condition."""
        return {"robustness.csv": as_csv(self.results)} if self.results else {}

    def metrics(self) -> dict[str, Any]:
        """Return benchmark → condition → method → average AUROC."""
        return metrics(self.results)

    def benchmarks(self) -> list[str]:
        """Return the names of the benchmarks."""
        return [result.benchmark for result in self.results]

    def stages(self) -> list[str]:
        """Return the names of the stages that measured them."""
        return [f"robustness-{name}" for name in self.benchmarks()]


def read(root: Path, name: str, sets: BenchmarkParams) -> RobustnessResult:
    """Read `reports/robustness/<name>.json`.

    Raises:
        MissingInput: the file does not exist.
        InvalidData: a field is missing or out of range, the sets are others, a method was not measured on clean
            images, or it has another number of values than there are seeds.
        NonFinite: a value is NaN or infinite.
    """
    return RobustnessResult.read_of(root / paths.ROBUSTNESS / f"{name}.json", name, sets)


def drawn(wanted: Sequence[str], result: RobustnessResult) -> tuple[str, ...]:
    """Return which methods are shown: those wanted, else the best on clean images."""
    return curves.drawn(wanted, {name: Spread(m.auroc).mean for name, m in sorted(result.clean.methods.items())})


def section(benchmarks: Sequence[RobustnessResult], wanted: Sequence[str], styles: Mapping[str, Style]) -> Section:
    """Lay out pictures and tables, one benchmark after another; within `plots.themed()`.

    Args:
        benchmarks: what was measured.
        wanted: methods to draw.
        styles: of all methods that are drawn.
    """
    return Section("Robustness", tuple(block for result in benchmarks for block in _blocks(result, wanted, styles)))


def spread(condition: Condition, method: str) -> Spread | None:
    """Return AUROC over the seeds; None where the method was not measured."""
    return Spread(condition.methods[method].auroc) if method in condition.methods else None


def _blocks(result: RobustnessResult, wanted: Sequence[str], styles: Mapping[str, Style]) -> Iterable[Block]:
    names = drawn(wanted, result)
    images = ", ".join(f"{result.images.get(name, 0):,} of {name}" for name in (result.id, *result.ood))
    yield Text(result.benchmark, "heading")
    yield Text(
        f"Images: {images}. AUROC in percent, averaged over the OOD sets; mean ± standard deviation over "
        f'{len(result.seeds)} seed{"" if len(result.seeds) == 1 else "s"} for methods with the "No" text encoder.',
        "note",
    )
    kinds = dict.fromkeys(corruption.name for corruption in result.corruptions)
    figures = [figure for kind in kinds if (figure := _figure(result, kind, names, styles))]
    if figures:
        yield Gallery(tuple(figures), "small")
        words = "Gaussian noise, Gaussian blur and JPEG on ID and OOD images alike; bars are one deviation over seeds."
        yield Text(words, "note", page_only=True)
    if result.corruptions:
        yield _corruptions(result, names)
    if result.names:
        yield Text(
            "Names of the classes: AUROC with other sentences or names minus AUROC with the usual ones, in points; the "
            "deviation is that of the difference over seeds.",
            "note",
        )
        yield _names(result)


def _figure(result: RobustnessResult, kind: str, names: Sequence[str], styles: Mapping[str, Style]) -> Figure | None:
    both = [c for c in result.corruptions if c.name == kind and c.where == "both"]
    conditions: list[Condition] = [result.clean, *both]
    lines = {}
    for name in names:
        spreads = [spread(condition, name) for condition in conditions]
        values = [(100 * spread.mean, 100 * (spread.std or 0)) for spread in spreads if spread is not None]
        if len(values) == len(conditions):
            lines[name] = values
    if not both or not lines:
        return None
    levels = ["clean", *(f"{corruption.level:g}" for corruption in both)]
    ends = "; ".join(f"{name} from {values[0][0]:.1f} to {values[-1][0]:.1f}" for name, values in lines.items())
    alt = f"Average AUROC in percent on {result.benchmark} over levels of {kind} ({', '.join(levels)}): {ends}."
    return Figure(pictures.svg(plots.levels_figure(UNITS[kind], levels, lines, styles), alt))


def _corruptions(result: RobustnessResult, names: Sequence[str]) -> Grid:
    def row(title: str, condition: Condition) -> Row:
        accuracy = "–" if condition.id_accuracy is None else f"{100 * condition.id_accuracy:.2f}"
        spreads = [spread(condition, name) for name in names]
        return Row(title, (accuracy, *("–" if spread is None else percent(spread) for spread in spreads)))

    where = {"id": "ID images", "ood": "OOD images", "both": "all images"}
    rows = [row("clean", result.clean)]
    rows += [row(f"{c.name} {c.level:g}, {where[c.where]}", c) for c in result.corruptions]
    return Grid(
        label=f"Corrupted images of {result.benchmark}",
        columns=(Column("corruption"), Column("ID accuracy"), *(Column(name) for name in names)),
        rows=tuple(rows),
        folded=f"Corruption of ID images, OOD images or both: {len(result.corruptions)} conditions",
    )


def _names(result: RobustnessResult) -> Grid:
    def cell(condition: Condition, method: str) -> str:
        changed, clean = spread(condition, method), result.clean.methods[method].auroc
        if changed is None:
            return "–"
        difference = Spread(tuple(a - b for a, b in zip(changed.values, clean, strict=True)))
        return signed(100 * difference.mean) + ("" if difference.std is None else f" ± {100 * difference.std:.2f}")

    measured = [name for name in result.clean.methods if any(name in condition.methods for condition in result.names)]
    methods = sorted(measured, key=merge.rank)
    return Grid(
        label=f"Other names of the classes of {result.benchmark}",
        columns=(
            Column("method"),
            *(Column(condition.change, f"{condition.classes_changed} classes changed") for condition in result.names),
        ),
        rows=tuple(Row(method, tuple(cell(condition, method) for condition in result.names)) for method in methods),
    )


def as_csv(benchmarks: Sequence[RobustnessResult]) -> str:
    """Return AUROC of every method under every condition as fractions, mean and deviation over seeds."""
    return curves.csv_text(("benchmark", "change", "method", "auroc_mean", "auroc_std"), _csv_rows(benchmarks))


def _csv_rows(benchmarks: Sequence[RobustnessResult]) -> Iterable[Sequence[str]]:
    for result in benchmarks:
        for change, condition in result.conditions.items():
            for method, measured in sorted(condition.methods.items()):
                auroc = Spread(measured.auroc)
                std = "" if auroc.std is None else f"{auroc.std:.6f}"
                yield result.benchmark, change, method, f"{auroc.mean:.6f}", std


def metrics(benchmarks: Sequence[RobustnessResult]) -> dict[str, Any]:
    """Return benchmark → change → method → average AUROC, mean over seeds, for `dvc metrics`."""
    return {
        result.benchmark: {
            change: {method: round(Spread(m.auroc).mean, 6) for method, m in sorted(condition.methods.items())}
            for change, condition in result.conditions.items()
        }
        for result in benchmarks
    }

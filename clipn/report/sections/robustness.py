"""How far detection holds when images are corrupted and classes are named otherwise."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from clipn.config import BenchmarkParams
from clipn.errors import InvalidData
from clipn.report import curves, merge
from clipn.report.inputs.metrics import Count, Fraction, validated
from clipn.report.render import pictures, plots
from clipn.report.render.document import Block, Column, Figure, Gallery, Grid, Row, Section, Text
from clipn.report.render.plots import Look
from clipn.report.summary import Spread, percent, signed

UNITS = {
    "noise": "Noise: std in grey levels",
    "blur": "Blur: radius in pixels",
    "jpeg": "JPEG: quality",
}


@dataclass(frozen=True)
class Measured:
    """One method: AUROC averaged over the OOD sets, one per seed with the no encoder, else one."""

    trained: bool
    auroc: Annotated[tuple[Fraction, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Entry:
    """What was measured under one condition."""

    id_accuracy: Fraction | None
    """Of zero-shot classification."""
    methods: dict[str, Measured]

    def spread(self, method: str) -> Spread | None:
        """None where the method was not measured."""
        return Spread(self.methods[method].auroc) if method in self.methods else None


@dataclass(frozen=True)
class Corruption(Entry):
    name: Literal["noise", "blur", "jpeg"]
    level: float
    where: Literal["id", "ood", "both"]
    """Which images are corrupted."""

    @property
    def change(self) -> str:
        return f"{self.name} {self.level:g} {self.where}"


@dataclass(frozen=True)
class Renamed(Entry):
    change: str
    """Such as `templates photo` or `synonyms`."""
    classes_changed: Count


@dataclass(frozen=True)
class Robustness:
    """`reports/robustness/BENCHMARK.json`."""

    benchmark: str
    id: str
    ood: tuple[str, ...]
    images: dict[str, Count]
    seeds: tuple[int, ...]
    clean: Entry
    corruptions: tuple[Corruption, ...]
    names: tuple[Renamed, ...]

    @property
    def entries(self) -> dict[str, Entry]:
        """Every condition by name."""
        changed = {c.change: c for c in self.corruptions}
        return {"clean": self.clean, **changed, **{entry.change: entry for entry in self.names}}

    @property
    def trained(self) -> dict[str, bool]:
        """Method → whether it uses the no encoder."""
        return {name: measured.trained for name, measured in self.clean.methods.items()}


_FILE = TypeAdapter(Robustness)


def read(root: Path, name: str, benchmark: BenchmarkParams) -> Robustness:
    """Read `reports/robustness/<name>.json`.

    Raises:
        MissingInput: the file does not exist.
        InvalidData: a field is missing or out of range, the sets are others, a method was not measured on clean
            images, or it has another number of values than there are seeds.
        NonFinite: a value is NaN or infinite.
    """
    path = root / "reports" / "robustness" / f"{name}.json"
    found = validated(path, _FILE, "'robustness'")
    if (found.benchmark, found.id, found.ood) != (name, benchmark.id, tuple(benchmark.ood)):
        raise InvalidData(f"{path} is of other sets than benchmark {name!r}; run 'dvc repro'")
    for change, entry in found.entries.items():
        for method, measured in entry.methods.items():
            if method not in found.clean.methods:
                raise InvalidData(f"{path}: {change} has {method}, which clean has not; run 'dvc repro'")
            if len(measured.auroc) != (len(found.seeds) if measured.trained else 1):
                raise InvalidData(
                    f"{path}: {change} has {len(measured.auroc)} values of {method} for {len(found.seeds)} seeds; "
                    "run 'dvc repro'"
                )
    return found


def drawn(wanted: Sequence[str], found: Robustness) -> tuple[str, ...]:
    """Which methods are shown: those wanted, else the best on clean images."""
    return curves.drawn(wanted, {name: Spread(m.auroc).mean for name, m in sorted(found.clean.methods.items())})


def section(benchmarks: Sequence[Robustness], wanted: Sequence[str], look: Mapping[str, Look]) -> Section:
    """Pictures and tables, one benchmark after another; within `plots.themed()`.

    Args:
        benchmarks: what was measured.
        wanted: methods to draw.
        look: of all methods that are drawn.
    """
    return Section("Robustness", tuple(block for found in benchmarks for block in _blocks(found, wanted, look)))


def _blocks(found: Robustness, wanted: Sequence[str], look: Mapping[str, Look]) -> Iterable[Block]:
    names = drawn(wanted, found)
    images = ", ".join(f"{found.images.get(name, 0):,} of {name}" for name in (found.id, *found.ood))
    yield Text(found.benchmark, "heading")
    yield Text(
        f"Images: {images}. AUROC in percent, averaged over the OOD sets; mean ± standard deviation over "
        f"{len(found.seeds)} seed{'' if len(found.seeds) == 1 else 's'} for methods with the no encoder.",
        "note",
    )
    kinds = dict.fromkeys(corruption.name for corruption in found.corruptions)
    figures = [figure for kind in kinds if (figure := _figure(found, kind, names, look))]
    if figures:
        yield Gallery(tuple(figures), "small")
        words = "Gaussian noise, Gaussian blur and JPEG on ID and OOD images alike; bars are one deviation over seeds."
        yield Text(words, "note", page_only=True)
    if found.corruptions:
        yield _corruptions(found, names)
    if found.names:
        yield Text(
            "Names of the classes: AUROC with other sentences or names minus AUROC with the usual ones, in points; the "
            "deviation is that of the difference over seeds.",
            "note",
        )
        yield _names(found)


def _figure(found: Robustness, kind: str, names: Sequence[str], look: Mapping[str, Look]) -> Figure | None:
    both = [c for c in found.corruptions if c.name == kind and c.where == "both"]
    entries: list[Entry] = [found.clean, *both]
    lines = {}
    for name in names:
        spreads = [entry.spread(name) for entry in entries]
        values = [(100 * spread.mean, 100 * (spread.std or 0)) for spread in spreads if spread is not None]
        if len(values) == len(entries):
            lines[name] = values
    if not both or not lines:
        return None
    levels = ["clean", *(f"{corruption.level:g}" for corruption in both)]
    ends = "; ".join(f"{name} from {values[0][0]:.1f} to {values[-1][0]:.1f}" for name, values in lines.items())
    alt = f"Average AUROC in percent on {found.benchmark} over levels of {kind} ({', '.join(levels)}): {ends}."
    return Figure(pictures.svg(plots.levels_figure(UNITS[kind], levels, lines, look), alt))


def _corruptions(found: Robustness, names: Sequence[str]) -> Grid:
    def row(title: str, entry: Entry) -> Row:
        accuracy = "–" if entry.id_accuracy is None else f"{100 * entry.id_accuracy:.2f}"
        spreads = [entry.spread(name) for name in names]
        return Row(title, (accuracy, *("–" if spread is None else percent(spread) for spread in spreads)))

    where = {"id": "ID images", "ood": "OOD images", "both": "all images"}
    rows = [row("clean", found.clean)]
    rows += [row(f"{c.name} {c.level:g}, {where[c.where]}", c) for c in found.corruptions]
    return Grid(
        label=f"Corrupted images of {found.benchmark}",
        columns=(Column("corruption"), Column("ID accuracy"), *(Column(name) for name in names)),
        rows=tuple(rows),
        folded=f"Corruption of ID images, OOD images or both: {len(found.corruptions)} conditions",
    )


def _names(found: Robustness) -> Grid:
    def cell(entry: Entry, method: str) -> str:
        changed, clean = entry.spread(method), found.clean.methods[method].auroc
        if changed is None:
            return "–"
        difference = Spread(tuple(a - b for a, b in zip(changed.values, clean, strict=True)))
        return signed(100 * difference.mean) + ("" if difference.std is None else f" ± {100 * difference.std:.2f}")

    measured = [name for name in found.clean.methods if any(name in entry.methods for entry in found.names)]
    methods = sorted(measured, key=merge.rank)
    return Grid(
        label=f"Other names of the classes of {found.benchmark}",
        columns=(
            Column("method"),
            *(Column(entry.change, f"{entry.classes_changed} classes changed") for entry in found.names),
        ),
        rows=tuple(Row(method, tuple(cell(entry, method) for entry in found.names)) for method in methods),
    )


def as_csv(benchmarks: Sequence[Robustness]) -> str:
    """AUROC of every method under every condition as fractions, mean and deviation over seeds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("benchmark", "change", "method", "auroc_mean", "auroc_std"))
    for found in benchmarks:
        for change, entry in found.entries.items():
            for method, measured in sorted(entry.methods.items()):
                spread = Spread(measured.auroc)
                std = "" if spread.std is None else f"{spread.std:.6f}"
                writer.writerow((found.benchmark, change, method, f"{spread.mean:.6f}", std))
    return text.getvalue()


def metrics(benchmarks: Sequence[Robustness]) -> dict[str, Any]:
    """Benchmark → change → method → average AUROC, mean over seeds, for `dvc metrics`."""
    return {
        found.benchmark: {
            change: {method: round(Spread(m.auroc).mean, 6) for method, m in sorted(entry.methods.items())}
            for change, entry in found.entries.items()
        }
        for found in benchmarks
    }

"""Published results beside the measured ones: what a paper says, what was measured here, and how far they differ."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

import yaml
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from clipn.config import Params
from clipn.config.types import STRICT
from clipn.metrics.detection import fpr95_key
from clipn.report.part import Part
from clipn.report.render.document import Block, Cell, Column, Grid, Number, Row, Section, Text
from clipn.report.render.plots import Style
from clipn.report.sections.table import IMPORTED, MEAN
from clipn.report.summary import AVERAGE, BenchmarkSummary, Spread, percent, signed


@dataclass(frozen=True, config=STRICT)
class Recalled:
    """A figure that was not read in its source."""

    value: float
    recalled: Literal[True]


@dataclass(frozen=True, config=STRICT)
class Pair:
    """In percent."""

    auroc: float | Recalled
    fpr95: float | Recalled

    @property
    def texts(self) -> tuple[str, str]:
        """Return both figures, with a `?` after one that was not read in its source."""
        auroc, fpr95 = (f"{_value(f):.2f}{'?' if isinstance(f, Recalled) else ''}" for f in (self.auroc, self.fpr95))
        return auroc, fpr95


@dataclass(frozen=True, config=STRICT)
class PublishedRow:
    label: str
    method: str
    """The score of this package that it is compared with."""
    backbone: str
    convention: Literal["id-interpolated", "id-nearest", "ood-first"] | None
    """Of FPR95; None if it is not known."""
    source: str
    mean: dict[str, Pair]
    """OOD set, and `average` → figures."""
    repeats: tuple[dict[str, Pair], ...] = ()
    """Each with all OOD sets."""


@dataclass(frozen=True, config=STRICT)
class PublishedTable:
    title: str
    notes: str
    columns: dict[str, str]
    """OOD set → what the paper calls it."""
    rows: tuple[PublishedRow, ...]
    """Empty where no figure is at hand."""


@dataclass(frozen=True, config=STRICT)
class Noise:
    """How far repeats of these methods lie apart, in points, where a row does not show it."""

    methods: tuple[str, ...]
    auroc: float
    fpr95: float


@dataclass(frozen=True, config=STRICT)
class Published:
    """`clipn/report/sections/published.yaml`: benchmark → its table."""

    warning: str
    noise: Noise
    tables: dict[str, PublishedTable]


@cache
def load() -> Published:
    """Read the file that comes with this package."""
    text = resources.files(__package__).joinpath("published.yaml").read_text(encoding="utf-8")
    return TypeAdapter(Published).validate_python(yaml.safe_load(text))


@dataclass(frozen=True)
class Elsewhere(Part):
    """Published tables of benchmarks that were not measured here."""

    measured: tuple[str, ...]
    shown: bool

    @classmethod
    def read(cls, root: Path, params: Params) -> Elsewhere:
        """Take from the parameters which benchmarks were measured, and whether published tables are shown."""
        return cls(params.evaluate.benchmarks, params.report.published)

    def sections(self, styles: Mapping[str, Style]) -> list[Section]:
        """Lay out one section a table."""
        return elsewhere(self.measured) if self.shown else []


def elsewhere(measured: Collection[str]) -> list[Section]:
    """Lay out the published tables of benchmarks that were not measured."""
    published = load()
    return [
        Section(table.title, (Text(published.warning, "warning"), Text(table.notes, "note"), _plain(table)))
        for name, table in published.tables.items()
        if name not in measured and table.rows
    ]


def beside(benchmark: BenchmarkSummary) -> list[Block]:
    """Lay out what was published of a benchmark beside what was measured; nothing if it has no published table."""
    table = load().tables.get(benchmark.name)
    if table is None:
        return []
    blocks: list[Block] = [Text("Published and measured", "heading"), Text(table.notes, "note")]
    if not table.rows:
        return blocks
    noise = load().noise
    rows = [row for published in table.rows for row in _side_by_side(published, table, benchmark, noise)]
    rule = (
        "AUROC / FPR95 in percent, FPR95 in the convention of the row. Differences are measured minus published, in "
        "points. A difference is called noise when it is no larger than what the published repeats of its row span in "
        f"that column (for {' and '.join(noise.methods)} rows without repeats {noise.auroc:g} AUROC and "
        f"{noise.fpr95:g} FPR95), or than twice the standard deviation over the seeds here. Rows without repeats on "
        "either side have no such mark. Averages of single published runs are worked out from their columns."
    )
    columns = (Column("method"), *(Column(name) for name in table.columns.values()), Column(AVERAGE, total=True))
    grid = Grid(f"Published and measured results of {benchmark.name}", columns, tuple(rows), note_column="figures")
    return [*blocks, Text(rule, "note"), grid]


def _plain(table: PublishedTable) -> Grid:
    rows = []
    for row in table.rows:
        repeats = [(f"run {i}", figures) for i, figures in enumerate(row.repeats, 1)]
        for repeat, figures in [*repeats, ("mean" if repeats else "", row.mean)]:
            cells = ["/".join(figures[name].texts) if name in figures else "" for name in (*table.columns, AVERAGE)]
            rows.append(Row(row.label, (*cells, row.convention or "not known", row.source), repeat))
    return Grid(
        label=table.title,
        columns=(
            Column("method"),
            *(Column(name) for name in (*table.columns.values(), AVERAGE)),
            Column("FPR95 convention", words=True),
            Column("source", words=True),
        ),
        rows=tuple(rows),
        note_column="repeat",
    )


def _side_by_side(
    published: PublishedRow, table: PublishedTable, benchmark: BenchmarkSummary, noise: Noise
) -> Iterable[Row]:
    names = (*table.columns, AVERAGE)
    convention = published.convention or f"of a convention that is not known (measured: {benchmark.fpr_convention})"
    yield Row(f"{published.label}: {published.source}, {published.backbone}; FPR95 {convention}")
    for i, repeat in enumerate(published.repeats, 1):
        cells = [_pair(repeat, name) for name in table.columns]
        averages = (Number(f"{_repeat(repeat, table.columns, kind, AVERAGE):.2f}") for kind in ("auroc", "fpr95"))
        yield Row("published", (*cells, tuple(averages)), f"run {i}", minor=True)
    mean = tuple(_pair(published.mean, name) for name in names)
    yield Row("published", mean, "mean" if published.repeats else "")
    fpr_key = fpr95_key(published.convention) if published.convention else benchmark.fpr_key
    for method in benchmark.methods:
        if method.base != published.method:
            continue
        measured = {
            kind: _measured(method.measures[key], table.columns)
            for kind, key in (("auroc", "auroc"), ("fpr95", fpr_key))
        }
        note = IMPORTED if method.imported else MEAN if len(method.auroc[AVERAGE].values) > 1 else ""
        here = tuple(_both(measured, name, _shown) for name in names)
        yield Row(f"{method.name}, here", here, note)

        def difference(spread: Spread, kind: str, name: str) -> Number:
            points = 100 * spread.mean - _value(getattr(published.mean[name], kind))
            limit = _limit(published, table.columns, kind, name, spread, noise)
            return Number(signed(points), note="noise" if limit is not None and abs(points) < limit else "")

        yield Row("difference", tuple(_both(measured, n, difference) if n in published.mean else "–" for n in names))


def _shown(spread: Spread, _kind: str, _name: str) -> Number:
    return Number(percent(spread))


def _measured(spreads: Mapping[str, Spread], sets: Collection[str]) -> dict[str, Spread]:
    """Return the values on the published sets, and their average where all of these were measured."""
    measured = {name: spreads[name] for name in sets if name in spreads}
    if len(measured) == len(sets):
        per_seed = zip(*(spread.values for spread in measured.values()), strict=True)
        measured[AVERAGE] = Spread(tuple(statistics.fmean(values) for values in per_seed))
    return measured


def _limit(
    published: PublishedRow, sets: Collection[str], kind: str, name: str, spread: Spread, noise: Noise
) -> float | None:
    """Up to how many points a difference is noise; None where nothing says how far repeats lie apart."""
    limits = []
    if len(published.repeats) > 1:
        values = [_repeat(repeat, sets, kind, name) for repeat in published.repeats]
        limits.append(max(values) - min(values))
    elif published.method in noise.methods:
        limits.append(getattr(noise, kind))
    if spread.std is not None:
        limits.append(200 * spread.std)
    # What prints the same as the limit is within it.
    return max(limits) + 0.005 if limits else None


def _repeat(figures: Mapping[str, Pair], sets: Collection[str], kind: str, name: str) -> float:
    names = sets if name == AVERAGE else (name,)
    return statistics.fmean(_value(getattr(figures[n], kind)) for n in names)


def _both(
    measured: Mapping[str, Mapping[str, Spread]], name: str, number: Callable[[Spread, str, str], Number]
) -> Cell:
    """AUROC and FPR95 of one column; `number` is given a value, which of the two it is, and the column."""
    if name not in measured["auroc"]:
        return "–"
    return tuple(number(measured[kind][name], kind, name) for kind in ("auroc", "fpr95"))


def _pair(figures: Mapping[str, Pair], name: str) -> Cell:
    return tuple(map(Number, figures[name].texts)) if name in figures else "–"


def _value(figure: float | Recalled) -> float:
    return figure.value if isinstance(figure, Recalled) else figure

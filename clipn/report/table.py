"""The table in the form of the paper: method × repeat in rows, OOD sets in columns, AUROC and FPR95 in percent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from clipn.report.summary import BenchmarkSummary, MethodSummary, Spread, headline, percent

CONVENTIONS = {
    "id-interpolated": "ID is the positive class; the ROC curve is interpolated linearly at a true positive rate of "
    "0.95 (the convention of CLIPN)",
    "id-nearest": "ID is the positive class; the threshold whose recall is nearest 0.95 (the convention of MCM)",
    "ood-first": "OOD is the positive class; the first threshold with a true positive rate of at least 0.95 (the "
    "convention of OpenOOD)",
}
MEAN = "mean ± std"
IMPORTED = "imported"
TEXT_COLUMNS = ("method", "repeat", "FPR95 convention", "source")


@dataclass(frozen=True)
class Number:
    text: str
    """Percent with two decimals."""
    best: bool


@dataclass(frozen=True)
class Cell:
    auroc: Number
    fpr95: Number


@dataclass(frozen=True)
class Row:
    method: str
    trained: bool
    repeat: str
    """`seed N`, `mean ± std`, `imported`, or empty for a method that does not depend on the seed."""
    cells: tuple[Cell, ...]
    """One for each OOD set, and the average."""


def rows(benchmark: BenchmarkSummary) -> list[Row]:
    """All rows; the best mean of every column is marked, all of them when several print the same."""
    table = []
    for method in benchmark.methods:
        if len(method.auroc[benchmark.columns[0]].values) > 1:
            for i, seed in enumerate(benchmark.seeds):
                cells = [
                    Cell(_number(method.auroc[column].values[i]), _number(method.fpr95[column].values[i]))
                    for column in benchmark.columns
                ]
                table.append(Row(method.name, method.trained, f"seed {seed}", tuple(cells)))
            repeat = MEAN
        else:
            repeat = IMPORTED if method.imported else f"seed {benchmark.seeds[0]}" if method.trained else ""
        table.append(Row(method.name, method.trained, repeat, _means(benchmark, method)))
    return table


def _means(benchmark: BenchmarkSummary, method: MethodSummary) -> tuple[Cell, ...]:
    cells = []
    for column in benchmark.columns:
        auroc, fpr95 = method.auroc[column], method.fpr95[column]
        highest = max(_shown(other.auroc[column]) for other in benchmark.methods)
        lowest = min(_shown(other.fpr95[column]) for other in benchmark.methods)
        cells.append(
            Cell(Number(percent(auroc), _shown(auroc) == highest), Number(percent(fpr95), _shown(fpr95) == lowest))
        )
    return tuple(cells)


def _shown(spread: Spread) -> float:
    """The mean as printed, so that what prints the same ranks the same."""
    return round(100 * spread.mean, 2)


def _number(value: float) -> Number:
    return Number(f"{100 * value:.2f}", False)


def decisions(benchmark: BenchmarkSummary) -> list[tuple[str, ...]]:
    """Rows of the decisions without a threshold: method, ID kept, OOD refused per set, in percent."""
    return [
        (
            method.name,
            percent(method.decision.id_kept),
            *(percent(method.decision.ood_refused[name]) for name in benchmark.ood),
        )
        for method in benchmark.methods
        if method.decision is not None
    ]


def imported_notes(benchmark: BenchmarkSummary) -> list[str]:
    """A sentence on each imported model."""
    return [
        f"The model {model.name} was imported; it is measured with logit scale {model.logit_scale:g} and templates "
        f"{model.templates}."
        for model in benchmark.imported
    ]


@cache
def published() -> dict[str, Any]:
    """The published ImageNet-1K results of `clipn/data/published.yaml`."""
    text = resources.files("clipn").joinpath("data/published.yaml").read_text(encoding="utf-8")
    values: dict[str, Any] = yaml.safe_load(text)
    return values


def markdown(title: str, benchmarks: Sequence[BenchmarkSummary], with_published: bool) -> str:
    """`reports/results.md`."""
    parts = [f"# {_escape(title)}"]
    for benchmark in benchmarks:
        parts += [f"## {_escape(benchmark.name)}", " ".join(_escape(s) for s in headline(benchmark))]
        parts.append(
            f"AUROC / FPR95 in percent. FPR95: {CONVENTIONS[benchmark.fpr_convention]}. Logit scale "
            f"{benchmark.logit_scale:g}, templates `{_escape(benchmark.templates)}`. In brackets the number of images; "
            f"ID is {_escape(benchmark.id)} ({benchmark.images[benchmark.id]}). ± is the sample standard deviation "
            f"over {len(benchmark.seeds)} {'seed' if len(benchmark.seeds) == 1 else 'seeds'}; a method without it does "
            "not depend on the seed, or ran with one. The best mean of each column is bold."
            + "".join(f" {_escape(note)}" for note in imported_notes(benchmark))
        )
        sets = [f"{name} ({benchmark.images[name]})" for name in benchmark.ood]
        body = [[row.method, row.repeat, *(_cell(cell) for cell in row.cells)] for row in rows(benchmark)]
        parts.append(_table(["method", "repeat", *sets, "average"], body))
        if decided := decisions(benchmark):
            parts.append("Decisions without a threshold: images kept as ID and refused as OOD, in percent.")
            header = ["method", f"{benchmark.id} kept", *(f"{name} refused" for name in benchmark.ood)]
            parts.append(_table(header, decided))
    if with_published:
        other = published()
        parts += [f"## {_escape(other['title'])}", f"**{_escape(other['warning'])}** {_escape(other['notes'])}"]
        sets = other["columns"]
        body = [
            [row["method"], row.get("repeat", ""), *(row.get(name, "") for name in sets), row["fpr95"], row["source"]]
            for row in other["rows"]
        ]
        parts.append(_table(["method", "repeat", *sets, "FPR95 convention", "source"], body))
    return "\n\n".join(parts) + "\n"


def _cell(cell: Cell) -> str:
    return " / ".join(f"**{n.text}**" if n.best else n.text for n in (cell.auroc, cell.fpr95))


def _table(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    rules = ["---" if name in TEXT_COLUMNS else "---:" for name in header]
    lines = [header, rules, *body]
    return "\n".join("| " + " | ".join(_escape(text) for text in line) + " |" for line in lines)


def _escape(text: str) -> str:
    """Keep foreign text from being read as Markdown's tables or as HTML."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")

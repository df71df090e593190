"""The results as a table for a terminal: methods down, sets across, seeds averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from clipn.config import BenchmarkParams
from clipn.report.summary import AVERAGE

CAPTION = "FPR95: false positive rate at 95 % true positive rate, average over the OOD sets"


def results(name: str, benchmark: BenchmarkParams, methods: Sequence[str], values: Mapping[str, Any]) -> Table:
    """Show AUROC on every OOD set, AUROC and FPR95 on average, in percent; the best of each column bold.

    Args:
        name: of the benchmark.
        benchmark: its sets, in the order of the columns.
        methods: in the order of the rows; those that were not measured are left out.
        values: the benchmark's part of `reports/metrics.json`.
    """
    accuracy = f", ID accuracy {100 * values['id_accuracy']:.1f}" if "id_accuracy" in values else ""
    table = Table(
        "method",
        title=f"{name}: AUROC in percent{accuracy}",
        title_justify="left",
        caption=CAPTION,
        caption_justify="left",
    )
    for column in (*benchmark.ood, AVERAGE, "FPR95"):
        table.add_column(column, justify="right")
    rows = {method: _row(benchmark, values[method]) for method in methods if method in values}
    best = [max(column) for column in zip(*rows.values(), strict=True)]
    for method, numbers in rows.items():
        table.add_row(method, *(_cell(value, top) for value, top in zip(numbers, best, strict=True)))
    return table


def _row(benchmark: BenchmarkParams, metrics: Mapping[str, Mapping[str, float]]) -> tuple[float, ...]:
    """Return AUROC of each set, the average AUROC, and the average FPR95, negated so that more is better everywhere."""
    (fpr95,) = (key for key in metrics if key.startswith("fpr95"))
    return (*(metrics["auroc"][column] for column in (*benchmark.ood, AVERAGE)), -metrics[fpr95][AVERAGE])


def _cell(value: float, best: float) -> str:
    text = f"{abs(100 * value):.1f}"
    return f"[bold]{text}[/]" if value == best else text

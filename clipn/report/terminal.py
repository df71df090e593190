"""The results as a table for a terminal: sets down, methods across, seeds averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from clipn.config import BenchmarkParams


def results(name: str, benchmark: BenchmarkParams, methods: Sequence[str], values: Mapping[str, Any]) -> Table:
    """AUROC and FPR95 in percent, the best of each row bold.

    Args:
        name: of the benchmark.
        benchmark: its sets, in the order of the rows.
        methods: in the order of the columns.
        values: the benchmark's part of `reports/metrics.json`.
    """
    title = f"{name}: AUROC / FPR95 in percent, ID accuracy {100 * values['id_accuracy']:.1f}"
    table = Table("OOD set", title=title, title_justify="left")
    for method in methods:
        table.add_column(method, justify="right")
    for row in (*benchmark.ood, "average"):
        numbers = [_numbers(values[method], row) for method in methods]
        best = (max(auroc for auroc, _ in numbers), min(fpr95 for _, fpr95 in numbers))
        table.add_row(
            row, *(" / ".join(map(_cell, pair, best)) for pair in numbers), end_section=row == benchmark.ood[-1]
        )
    return table


def _numbers(metrics: Mapping[str, Mapping[str, float]], row: str) -> tuple[float, float]:
    (fpr95,) = (key for key in metrics if key.startswith("fpr95"))
    return metrics["auroc"][row], metrics[fpr95][row]


def _cell(value: float, best: float) -> str:
    text = f"{100 * value:.1f}"
    return f"[bold]{text}[/]" if value == best else text

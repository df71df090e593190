from __future__ import annotations

import io

from rich.console import Console

from clipn.config import BenchmarkParams
from clipn.report.terminal import results

VALUES = {
    "id_accuracy": 0.875,
    "MSP": {
        "auroc": {"near": 0.7, "far": 0.9, "average": 0.8},
        "fpr95_id_nearest": {"near": 0.5, "far": 0.25, "average": 0.375},
    },
    "CLIPN-CTW": {
        "auroc": {"near": 0.75, "far": 0.85, "average": 0.8},
        "fpr95_id_nearest": {"near": 0.625, "far": 0.125, "average": 0.375},
    },
}


def test_sets_down_methods_across() -> None:
    table = results("toy", BenchmarkParams(id="known", ood=("near", "far")), ["MSP", "CLIPN-CTW"], VALUES)
    console = Console(file=io.StringIO(), width=60)
    console.print(table)
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in console.file.getvalue().splitlines()]
    rows = [cells for cells in lines if len(cells) == 3]
    assert rows == [
        ["near", "70.0 / 50.0", "75.0 / 62.5"],
        ["far", "90.0 / 25.0", "85.0 / 12.5"],
        ["average", "80.0 / 37.5", "80.0 / 37.5"],
    ]
    assert table.title == "toy: AUROC / FPR95 in percent, ID accuracy 87.5"
    assert list(table.columns[1].cells) == [
        "70.0 / [bold]50.0[/]",
        "[bold]90.0[/] / 25.0",
        "[bold]80.0[/] / [bold]37.5[/]",
    ]

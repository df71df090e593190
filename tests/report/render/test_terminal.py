from __future__ import annotations

import io

from rich.console import Console

from clipn.config import BenchmarkParams
from clipn.report.render.terminal import results

VALUES = {
    "id_accuracy": 0.875,
    "calibration_error": 0.125,
    "MSP": {
        "auroc": {"near": 0.7, "far": 0.9, "average": 0.8},
        "fpr95_id_nearest": {"near": 0.5, "far": 0.25, "average": 0.375},
    },
    "CLIPN-CTW": {
        "auroc": {"near": 0.75, "far": 0.85, "average": 0.8},
        "fpr95_id_nearest": {"near": 0.625, "far": 0.125, "average": 0.25},
    },
}
TOY = BenchmarkParams(id="known", ood=("near", "far"))


def test_methods_down_sets_across() -> None:
    table = results("toy", TOY, ["MSP", "GL-MCM", "CLIPN-CTW"], VALUES)
    console = Console(file=io.StringIO(), width=60)
    console.print(table)
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in console.file.getvalue().splitlines()]
    rows = [cells for cells in lines if len(cells) == 5]
    assert rows == [["MSP", "70.0", "90.0", "80.0", "37.5"], ["CLIPN-CTW", "75.0", "85.0", "80.0", "25.0"]]
    assert [column.header for column in table.columns] == ["method", "near", "far", "average", "FPR95"]
    assert table.title == "toy: AUROC in percent, ID accuracy 87.5"


def test_the_best_of_each_column_is_bold() -> None:
    table = results("toy", TOY, ["MSP", "CLIPN-CTW"], VALUES)
    assert [list(column.cells) for column in table.columns[1:]] == [
        ["70.0", "[bold]75.0[/]"],
        ["[bold]90.0[/]", "85.0"],
        ["[bold]80.0[/]", "[bold]80.0[/]"],
        ["37.5", "[bold]25.0[/]"],
    ]


def test_a_benchmark_without_class_names_has_no_accuracy() -> None:
    table = results("toy", TOY, ["MSP"], {"MSP": VALUES["MSP"]})
    assert table.title == "toy: AUROC in percent"

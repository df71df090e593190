from __future__ import annotations

from clipn.report.render.document import Grid, Number, Row
from clipn.report.sections import table
from clipn.report.summary import DecisionSummary, Spread
from tests.report.made_up import TRAINED, benchmark, method

MSP = method("MSP", {"dogs": [0.92], "cars": [0.7]}, fpr95=0.25)
MCM = method("MCM", {"dogs": [0.6], "cars": [0.65]}, fpr95=0.3)
CTW = method("CLIPN-CTW", {"dogs": [0.6, 0.7, 0.8], "cars": [0.9, 0.9, 0.9]}, TRAINED)
SMALL = benchmark(MSP, MCM, CTW, seeds=(0, 1, 2))
INTERVALS = {"MSP": (0.8, 0.82), "MCM": (0.6, 0.65), "CLIPN-CTW": (0.75, 0.85)}


def rows(grid: Grid) -> list[tuple[str, str]]:
    return [(row.name, row.note) for row in grid.rows]


def texts(row: Row) -> list[str]:
    """AUROC over FPR95 of each column."""
    return [cell if isinstance(cell, str) else " / ".join(n.text for n in cell) for cell in row.cells]


def test_rows_are_methods_times_repeats_under_what_they_need() -> None:
    grid = table.results(SMALL, INTERVALS)
    assert rows(grid) == [
        ("Class names", ""),
        ("MSP", ""),
        ("MCM", ""),
        ('Class names and a trained "No" text encoder', ""),
        ("CLIPN-CTW", "seed 0"),
        ("CLIPN-CTW", "seed 1"),
        ("CLIPN-CTW", "seed 2"),
        ("CLIPN-CTW", "mean ± std"),
    ]
    assert [row.minor for row in grid.rows] == [False] * 4 + [True] * 3 + [False]
    assert [column.name for column in grid.columns] == ["method", "dogs", "cars", "average", "95 % interval"]
    assert [column.note for column in grid.columns[1:3]] == ["3", "3"]


def test_cells_are_percent_with_the_interval_of_the_average() -> None:
    grid = table.results(SMALL, INTERVALS)
    assert texts(grid.rows[1]) == ["92.00 / 25.00", "70.00 / 25.00", "81.00 / 25.00", "80.00 to 82.00"]
    assert texts(grid.rows[4]) == ["60.00 / 50.00", "90.00 / 50.00", "75.00 / 50.00", ""]
    assert texts(grid.rows[7]) == [
        "70.00 ± 10.00 / 50.00 ± 0.00",
        "90.00 ± 0.00 / 50.00 ± 0.00",
        "80.00 ± 5.00 / 50.00 ± 0.00",
        "75.00 to 85.00",
    ]


def marks(row: Row) -> list[tuple[str, ...]]:
    return [tuple(n.mark for n in cell) for cell in row.cells if not isinstance(cell, str)]


def test_the_best_of_all_and_of_each_group_are_marked() -> None:
    grid = table.results(SMALL, INTERVALS)
    assert marks(grid.rows[1]) == [("best", "best"), ("group", "best"), ("best", "best")]
    assert marks(grid.rows[2]) == [("", "")] * 3
    assert marks(grid.rows[4]) == [("", "")] * 3
    # Alone in its group, it is marked only where it is the best of all.
    assert marks(grid.rows[7]) == [("", ""), ("best", ""), ("", "")]


def test_values_that_print_the_same_are_all_best() -> None:
    grid = table.results(
        benchmark(method("A", {"dogs": [0.6]}), method("B", {"dogs": [0.600004]})), {"A": (0, 1), "B": (0, 1)}
    )
    assert marks(grid.rows[1]) == marks(grid.rows[2]) == [("best", "best")] * 2


def test_one_seed_gives_one_row_without_deviation() -> None:
    one = method("CLIPN-CTW", {"dogs": [0.7]}, TRAINED)
    released = method("CLIPN-CTW (x)", {"dogs": [0.7]}, TRAINED, base="CLIPN-CTW", imported="x")
    grid = table.results(benchmark(one, released, seeds=(4,)), {"CLIPN-CTW": (0, 1), "CLIPN-CTW (x)": (0, 1)})
    assert rows(grid)[1:] == [("CLIPN-CTW", "seed 4"), ("CLIPN-CTW (x)", "imported")]
    assert texts(grid.rows[1])[0] == "70.00 / 50.00"


def test_further_measures_are_averages() -> None:
    probe = method("Probe-MSP", {"dogs": [0.8]}, frozenset({"images", "labels"}), 0.2, id_accuracy=Spread((0.875,)))
    grid = table.further(benchmark(method("MSP", {"dogs": [0.6]}), probe))
    assert [column.name for column in grid.columns[1:]] == [
        "AUPR-in",
        "AUPR-out",
        "FPR95 id-interpolated",
        "FPR95 id-nearest",
        "FPR95 ood-first",
        "ID accuracy",
    ]
    _, msp, _, found = grid.rows
    assert texts(msp) == ["30.00", "15.00", "50.00", "51.00", "52.00", "–"]
    assert texts(found) == ["40.00", "20.00", "20.00", "21.00", "22.00", "87.50"]
    assert found.cells[2] == (Number("20.00", "best", "15.00 to 25.00"),)
    assert grid.folded


def test_decisions_are_wrong_on_id_and_right_on_ood() -> None:
    decision = DecisionSummary(Spread((0.5, 0.75)), {"dogs": Spread((0.5, 0.5))}, Spread((0.25, 0.25)))
    grid = table.decisions(
        benchmark(method("MSP", {"dogs": [0.5]}), method("CTW", {"dogs": [0.5] * 2}, decision=decision))
    )
    assert grid is not None
    assert [(column.name, column.note) for column in grid.columns] == [
        ("method", ""),
        ("cats", "ID, refused wrongly"),
        ("dogs", "refused rightly"),
        ("calibration error", ""),
    ]
    assert [(row.name, *row.cells) for row in grid.rows] == [("CTW", "37.50 ± 17.68", "50.00 ± 0.00", "25.00 ± 0.00")]
    assert table.decisions(SMALL) is None

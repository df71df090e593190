from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clipn.config import BenchmarkParams
from clipn.errors import InvalidData, MissingInput, NonFinite
from clipn.report.render import plots
from clipn.report.render.document import Gallery, Grid, Row, Text
from clipn.report.render.plots import Point
from clipn.report.sections import study
from clipn.utils.files import write_json
from tests.report import made_up
from tests.report.made_up import BACKBONES

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = {"small": BenchmarkParams(id="cats", ood=("dogs", "cars"))}


@pytest.fixture
def studies(tmp_path: Path) -> list[study.Study]:
    for name in BACKBONES:
        write_json(tmp_path / f"reports/study/{name}.json", made_up.study(name))
    return study.read(tmp_path, BACKBONES, SMALL)


def test_files_hold_a_benchmark_of_each_backbone(studies: list[study.Study]) -> None:
    assert [(s.backbone, s.origin, s.dim, s.pooled) for s in studies] == [
        (name, f"open_clip, {name}", 8, 12) for name in BACKBONES
    ]
    assert [method.name for method in study.methods(studies, "small")] == ["MCM", "1-NN", "Probe-MSP"]


def points(*pairs: tuple[float, float]) -> list[Point]:
    return [Point("MSP", str(i), x, y) for i, (x, y) in enumerate(pairs)]


def test_fit_known_answer() -> None:
    line = study.fit(points((50, 70), (60, 80), (70, 90)))
    assert line is not None
    assert (line.slope, line.intercept, line.r_squared) == pytest.approx((1, 20, 1))
    # Means 2 and 2; Sxx 2, Syy 2, Sxy 1: slope 1/2, intercept 1, R² 1/4.
    line = study.fit(points((1, 1), (2, 3), (3, 2)))
    assert line is not None
    assert (line.slope, line.intercept, line.r_squared) == pytest.approx((0.5, 1, 0.25))


@pytest.mark.parametrize(
    "pairs", [[], [(50, 70), (60, 80)], [(50, 70), (50, 80), (50, 90)], [(50, 70), (60, 70), (70, 70)]]
)
def test_what_has_no_fit(pairs: list[tuple[float, float]]) -> None:
    assert study.fit(points(*pairs)) is None


def test_accuracy_is_the_methods_own_or_that_of_zero_shot(studies: list[study.Study]) -> None:
    found = study.points(studies, "small", ["1-NN", "Probe-MSP"])
    assert [(p.method, p.backbone) for p in found] == [(m, b) for m in ("1-NN", "Probe-MSP") for b in BACKBONES]
    assert [(p.x, p.y) for p in found] == [
        pytest.approx(pair) for pair in ((50, 70), (60, 80), (70, 90), (60, 80), (70, 60), (80, 80))
    ]


def test_backbones_without_names_have_points_of_classifiers_alone(tmp_path: Path) -> None:
    values = made_up.study("red")
    values["benchmarks"]["small"] |= {"id_accuracy": None, "calibration": None}
    write_json(tmp_path / "reports/study/red.json", values)
    studies = study.read(tmp_path, ["red"], SMALL)
    assert [point.method for point in study.points(studies, "small", ["1-NN", "Probe-MSP"])] == ["Probe-MSP"]
    assert ",red,1-NN,,0.700000\n" in study.as_csv(studies, ["small"])


def grid_of(blocks: tuple[Any, ...], label: str) -> Grid:
    (grid,) = [block for block in blocks if isinstance(block, Grid) and block.label == label]
    return grid


def texts(row: Row) -> list[str]:
    return [cell if isinstance(cell, str) else " / ".join(n.text for n in cell) for cell in row.cells]


def test_table_of_methods_and_backbones(studies: list[study.Study]) -> None:
    styles = plots.styles({"1-NN": False, "MCM": False})
    with plots.themed():
        section = study.section(studies, ["small"], ("1-NN", "MCM", "unknown"), styles)
    assert texts(grid_of(section.blocks, "Backbones").rows[0]) == ["8", "12", "open_clip, red"]
    grid = grid_of(section.blocks, "Feature study on small")
    assert [column.name for column in grid.columns] == ["method", *BACKBONES, "R²"]
    assert {row.name: texts(row) for row in grid.rows if row.cells} == {
        "MCM": ["75.00 / 50.00", "75.00 / 60.00", "75.00 / 70.00", "–"],
        "1-NN": ["70.00 / 50.00", "80.00 / 60.00", "90.00 / 70.00", "1.00"],
        "Probe-MSP": ["80.00 / 60.00", "60.00 / 70.00", "80.00 / 80.00", "0.00"],
    }
    best = [row.name for row in grid.rows if row.cells and row.cells[0][0].mark == "best"]  # type: ignore[union-attr]
    assert best == ["Probe-MSP"]
    notes = " ".join(block.text for block in section.blocks if isinstance(block, Text))
    # All nine points, centred: Sxx = .08, Syy = .0539, Sxy = .0117.
    assert "All methods together: R² 0.03 over 9 points." in notes
    assert "There is none of methods with fewer than 3 backbones" in notes
    (gallery,) = [block for block in section.blocks if isinstance(block, Gallery)]
    assert "ID accuracy of 1-NN, MCM with 3 backbones" in gallery.figures[0].picture.alt


def test_two_backbones_have_no_fit(studies: list[study.Study]) -> None:
    with plots.themed():
        section = study.section(studies[:2], ["small"], ("1-NN",), plots.styles({"1-NN": False}))
    grid = grid_of(section.blocks, "Feature study on small")
    assert {row.cells[-1] for row in grid.rows if row.cells} == {"–"}
    assert any("With fewer than 3 backbones there is no R²" in b.text for b in section.blocks if isinstance(b, Text))


def test_a_method_that_one_backbone_could_not_feed(tmp_path: Path) -> None:
    for name in BACKBONES:
        values = made_up.study(name)
        if name == "green":
            values["benchmarks"]["small"]["methods"] = {}
        write_json(tmp_path / f"reports/study/{name}.json", values)
    studies = study.read(tmp_path, BACKBONES, SMALL)
    with plots.themed():
        section = study.section(studies, ["small"], ("1-NN",), plots.styles({"1-NN": False}))
    (row,) = [row for row in grid_of(section.blocks, "Feature study on small").rows if row.name == "1-NN"]
    assert texts(row) == ["70.00 / 50.00", "–", "90.00 / 70.00", "–"]


def test_drawn_methods_are_those_wanted_or_the_best(studies: list[study.Study]) -> None:
    assert study.drawn(("Probe-MSP", "MSP"), studies, "small") == ("Probe-MSP",)
    assert study.drawn(("MSP",), studies, "small") == ("1-NN", "MCM", "Probe-MSP")


def test_csv_and_metrics(studies: list[study.Study]) -> None:
    rows = list(csv.DictReader(io.StringIO(study.as_csv(studies, ["small"]))))
    assert len(rows) == 9
    assert rows[2] == {
        "benchmark": "small", "backbone": "red", "method": "Probe-MSP", "id_accuracy": "0.600000", "auroc": "0.800000",
    }  # fmt: skip
    assert study.metrics(studies)["green"] == {
        "small": {"MCM": {"auroc": 0.75}, "1-NN": {"auroc": 0.8}, "Probe-MSP": {"auroc": 0.6}}
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("origin"), "origin: "),
        (lambda v: v.update(dim=-1), "dim: "),
        (lambda v: v.update(backbone="blue"), "is of the backbone 'blue'"),
        (lambda v: v["benchmarks"].clear(), "has no benchmark 'small', which study.benchmarks asks for"),
        (lambda v: v["benchmarks"]["small"].update(ood=["dogs"]), r"benchmarks\.small is of \(benchmark, ID, OOD\)"),
        (lambda v: v["benchmarks"]["small"]["methods"]["MCM"].pop("average"), r"methods\.MCM\.average: "),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    values = made_up.study("red")
    change(values)
    write_json(tmp_path / "reports/study/red.json", values)
    with pytest.raises(InvalidData, match=rf"red\.json.*{message}"):
        study.read(tmp_path, ["red"], SMALL)


def test_missing_files_and_no_numbers(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"study/red\.json does not exist"):
        study.read(tmp_path, ["red"], SMALL)
    path = tmp_path / "reports/study/red.json"
    path.parent.mkdir(parents=True)
    values = made_up.study("red")
    values["benchmarks"]["small"]["id_accuracy"] = float("nan")
    path.write_text(json.dumps(values))
    with pytest.raises(NonFinite, match=r"benchmarks\.small\.id_accuracy is nan"):
        study.read(tmp_path, ["red"], SMALL)

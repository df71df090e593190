from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clipn.config import BenchmarkParams
from clipn.errors import InvalidData, MissingInput, NonFinite
from clipn.evaluation.results.robustness import RobustnessResult
from clipn.report.render import plots
from clipn.report.render.document import Gallery, Grid, Section
from clipn.report.sections import robustness
from clipn.utils.files import write_json
from tests.report import made_up

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = BenchmarkParams(id="cats", ood=("dogs", "cars"))
FILE = Path("reports/robustness/small.json")


@pytest.fixture
def found(tmp_path: Path) -> RobustnessResult:
    write_json(tmp_path / FILE, made_up.robustness())
    return robustness.read(tmp_path, "small", SMALL)


def section(found: RobustnessResult, *wanted: str) -> Section:
    with plots.themed():
        return robustness.section([found], wanted, plots.styles(found.trained))


def grids(found: RobustnessResult, *wanted: str) -> list[Grid]:
    return [block for block in section(found, *wanted).blocks if isinstance(block, Grid)]


def test_every_condition_has_a_name(found: RobustnessResult) -> None:
    assert list(found.conditions)[:5] == ["clean", "noise 10 id", "noise 10 ood", "noise 10 both", "noise 20 id"]
    assert list(found.conditions)[-2:] == ["templates photo", "synonyms"]
    assert len(found.conditions) == 1 + 12 + 2
    assert found.trained == {"MCM": False, "CLIPN-CTW": True}


def test_a_line_for_each_corruption_of_all_images(found: RobustnessResult) -> None:
    (gallery,) = [block for block in section(found, "CLIPN-CTW", "MCM").blocks if isinstance(block, Gallery)]
    assert [figure.picture.alt for figure in gallery.figures] == [
        "Average AUROC in percent on small over levels of noise (clean, 10, 20): CLIPN-CTW from 85.0 to 45.0; "
        "MCM from 90.0 to 70.0.",
        "Average AUROC in percent on small over levels of jpeg (clean, 50, 10): CLIPN-CTW from 85.0 to 45.0; "
        "MCM from 90.0 to 70.0.",
    ]


def test_table_of_corrupted_id_or_ood_images(found: RobustnessResult) -> None:
    corrupted, _ = grids(found, "CLIPN-CTW", "MCM")
    assert [column.name for column in corrupted.columns] == ["corruption", "ID accuracy", "CLIPN-CTW", "MCM"]
    assert len(corrupted.rows) == 13
    assert [(row.name, *row.cells) for row in corrupted.rows[:3]] == [
        ("clean", "75.00", "85.00 ± 7.07", "90.00"),
        ("noise 10, ID images", "65.00", "65.00 ± 7.07", "80.00"),
        ("noise 10, OOD images", "65.00", "65.00 ± 7.07", "80.00"),
    ]
    assert corrupted.folded


def test_names_of_classes_are_held_against_the_usual_ones(found: RobustnessResult) -> None:
    _, names = grids(found, "MCM")
    assert [(column.name, column.note) for column in names.columns[1:]] == [
        ("templates photo", "2 classes changed"),
        ("synonyms", "1 classes changed"),
    ]
    # The difference of each seed is the same, however far the seeds lie apart.
    assert [(row.name, *row.cells) for row in names.rows] == [
        ("MCM", "+0.00", "−10.00"),
        ("CLIPN-CTW", "+0.00 ± 0.00", "−20.00 ± 0.00"),
    ]


def test_what_was_not_measured_is_left_out(tmp_path: Path) -> None:
    values = made_up.robustness()
    values["names"] = []
    for corruption in values["corruptions"]:
        corruption["id_accuracy"] = None
        del corruption["methods"]["MCM"]
    write_json(tmp_path / FILE, values)
    found = robustness.read(tmp_path, "small", SMALL)
    (corrupted,) = grids(found, "MCM")
    assert [row.cells for row in corrupted.rows[:2]] == [("75.00", "90.00"), ("–", "–")]
    assert not [block for block in section(found, "MCM").blocks if isinstance(block, Gallery)]
    values["corruptions"] = []
    write_json(tmp_path / FILE, values)
    assert grids(robustness.read(tmp_path, "small", SMALL), "MCM") == []


def test_drawn_methods_are_those_wanted_or_the_best(found: RobustnessResult) -> None:
    assert robustness.drawn(("1-NN", "CLIPN-CTW"), found) == ("CLIPN-CTW",)
    assert robustness.drawn(("1-NN",), found) == ("MCM", "CLIPN-CTW")


def test_csv_and_metrics(found: RobustnessResult) -> None:
    rows = list(csv.DictReader(io.StringIO(robustness.as_csv([found]))))
    assert len(rows) == 15 * 2
    assert rows[0] == {
        "benchmark": "small", "change": "clean", "method": "CLIPN-CTW",
        "auroc_mean": "0.850000", "auroc_std": "0.070711",
    }  # fmt: skip
    assert rows[1]["auroc_std"] == ""
    metrics = robustness.metrics([found])["small"]
    assert metrics["noise 20 both"] == {"CLIPN-CTW": 0.45, "MCM": 0.7}
    assert metrics["synonyms"] == {"CLIPN-CTW": 0.65, "MCM": 0.8}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("clean"), "clean: "),
        (lambda v: v["corruptions"][0].update(name="fog"), r"corruptions\.0\.name: "),
        (lambda v: v["corruptions"][0].update(where="none"), r"corruptions\.0\.where: "),
        (lambda v: v["corruptions"][0].pop("id_accuracy"), r"corruptions\.0\.id_accuracy: "),
        (lambda v: v["names"][0].pop("classes_changed"), r"names\.0\.classes_changed: "),
        (lambda v: v["clean"]["methods"].pop("MCM"), "noise 10 id has MCM, which clean has not"),
        (lambda v: v.update(seeds=[0, 1, 2]), "clean has 2 values of CLIPN-CTW for 3 seeds"),
        (lambda v: v["clean"]["methods"]["MCM"].update(auroc=[2.0]), r"MCM\.auroc\.0: "),
        (lambda v: v.update(ood=["dogs"]), "is of other sets than benchmark 'small'"),
    ],
)
def test_wrong_numbers_are_refused(tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    values = made_up.robustness()
    change(values)
    write_json(tmp_path / FILE, values)
    with pytest.raises(InvalidData, match=rf"small\.json.*{message}"):
        robustness.read(tmp_path, "small", SMALL)


def test_missing_file_and_no_numbers(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"robustness/small\.json does not exist"):
        robustness.read(tmp_path, "small", SMALL)
    write_json(tmp_path / FILE, made_up.robustness())
    path = tmp_path / FILE
    path.write_text(path.read_text().replace('"id_accuracy": 0.75', '"id_accuracy": NaN', 1))
    with pytest.raises(NonFinite, match=r"clean\.id_accuracy is nan"):
        robustness.read(tmp_path, "small", SMALL)

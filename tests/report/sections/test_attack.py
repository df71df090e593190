from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clipn.config import BenchmarkParams
from clipn.errors import InvalidData, MissingInput, NonFinite
from clipn.report.render.document import Gallery, Grid, Row, Text
from clipn.report.sections import attack
from clipn.utils.files import write_json
from tests.report import made_up

SMALL = BenchmarkParams(id="cats", ood=("dogs", "cars"))
FILE = Path("reports/attack/small.json")


def write(root: Path, values: dict[str, Any]) -> None:
    write_json(root / FILE, values)
    folder = root / "data/attack/small"
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("smooth", "patchy"):
        Image.new("RGB", (32, 16)).save(folder / f"{kind}.png")


@pytest.fixture
def found(tmp_path: Path) -> attack.Attack:
    write(tmp_path, made_up.attack())
    return attack.read(tmp_path, "small", SMALL)


def texts(row: Row) -> list[str]:
    return [cell if isinstance(cell, str) else " / ".join(n.text for n in cell) for cell in row.cells]


def test_numbers_before_and_after(found: attack.Attack) -> None:
    section = attack.section([found])
    (grid,) = [block for block in section.blocks if isinstance(block, Grid)]
    assert [(column.name, column.note) for column in grid.columns] == [
        ("method", ""),
        ("before", ""),
        ("after", ""),
        ("change", "points"),
        ("after", "without targets"),
    ]
    assert [(row.name, *texts(row)) for row in grid.rows] == [
        ("smooth changes",),
        ("MCM", "80.00", "40.00", "−40.00", "–"),
        ("CLIPN-CTW", "80.00 ± 14.14", "30.00 ± 14.14", "−50.00", "–"),
        ("1-NN", "90.00", "10.00", "−80.00", "50.00"),
        ("patchy changes",),
        ("MCM", "80.00", "40.00", "−40.00", "–"),
        ("CLIPN-CTW", "80.00 ± 14.14", "30.00 ± 14.14", "−50.00", "–"),
        ("1-NN", "90.00", "70.00", "−20.00", "50.00"),
    ]
    note = " ".join(block.text for block in section.blocks if isinstance(block, Text) and block.role == "note")
    assert "8 OOD images" in note
    assert "in 250 steps" in note
    assert "Smooth: cosine to the target 0.250 before and 0.875 after, mean change of a pixel 1.50 of 255" in note


def test_a_sentence_holds_the_no_encoder_against_what_does_without(found: attack.Attack) -> None:
    assert attack.sentences(found.result) == [
        'How smooth changes move AUROC, in points: with the trained "No" text encoder −50.00 (CLIPN-CTW); '
        "without it −80.00 (1-NN) and −40.00 (MCM).",
        'How patchy changes move AUROC, in points: with the trained "No" text encoder −50.00 (CLIPN-CTW); '
        "without it −20.00 (1-NN) and −40.00 (MCM).",
    ]


def test_nothing_is_said_of_methods_that_were_not_measured(tmp_path: Path) -> None:
    values = made_up.attack()
    values["seeds"] = []
    for kind in values["kinds"].values():
        kind["methods"] = {"1-NN": kind["methods"]["1-NN"]}
    values["kinds"]["patchy"]["methods"] = {}
    write(tmp_path, values)
    found = attack.read(tmp_path, "small", SMALL)
    assert attack.sentences(found.result) == ["How smooth changes move AUROC, in points: without it −80.00 (1-NN)."]


def test_contact_sheets_are_shown(found: attack.Attack) -> None:
    (gallery,) = [block for block in attack.section([found]).blocks if isinstance(block, Gallery)]
    assert [figure.caption for figure in gallery.figures] == ["smooth changes", "patchy changes"]
    assert all(figure.picture.src.startswith("data:image/webp;base64,") for figure in gallery.figures)


def test_metrics_are_means_afterwards(found: attack.Attack) -> None:
    assert attack.metrics([found]) == {
        "small": {
            "smooth": {"1-NN": {"after": 0.1}, "CLIPN-CTW": {"after": 0.3}, "MCM": {"after": 0.4}},
            "patchy": {"1-NN": {"after": 0.7}, "CLIPN-CTW": {"after": 0.3}, "MCM": {"after": 0.4}},
        }
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("steps"), "steps: "),
        (lambda v: v.update(kinds={}), "kinds: "),
        (lambda v: v["kinds"].update(striped=v["kinds"]["smooth"]), r"kinds\.striped"),
        (lambda v: v["kinds"]["smooth"].update(cosine_after=2.0), r"smooth\.cosine_after: "),
        (lambda v: v["kinds"]["smooth"]["methods"]["MCM"].update(after=[1.5]), r"MCM\.after\.0: "),
        (lambda v: v["kinds"]["smooth"]["methods"]["MCM"].pop("before"), r"MCM\.before: "),
        (lambda v: v["kinds"]["smooth"]["methods"]["MCM"].update(after=[0.1, 0.2]), "MCM has 2 values where 1 are due"),
        (lambda v: v.update(seeds=[0]), r"smooth\.methods\.CLIPN-CTW has 2 values where 1 are due"),
        (lambda v: v.update(id="dogs"), "is of other sets than benchmark 'small'"),
    ],
)
def test_wrong_numbers_are_refused(tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    values = made_up.attack()
    del values["kinds"]["patchy"]
    change(values)
    write(tmp_path, values)
    with pytest.raises(InvalidData, match=rf"small\.json.*{message}"):
        attack.read(tmp_path, "small", SMALL)


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    write(tmp_path, made_up.attack())
    picture = tmp_path / "data/attack/small/patchy.png"
    picture.write_bytes(b"no picture")
    with pytest.raises(InvalidData, match=r"patchy\.png: not an image"):
        attack.read(tmp_path, "small", SMALL)
    picture.unlink()
    with pytest.raises(MissingInput, match=r"patchy\.png does not exist"):
        attack.read(tmp_path, "small", SMALL)
    path = tmp_path / FILE
    path.write_text(path.read_text().replace("1.5,", "Infinity,", 1))
    with pytest.raises(NonFinite, match=r"small\.json: kinds\.patchy\.change is inf"):
        attack.read(tmp_path, "small", SMALL)
    path.unlink()
    with pytest.raises(MissingInput, match=r"small\.json does not exist"):
        attack.read(tmp_path, "small", SMALL)

"""Numbers of duplicates as sentences and as a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clipn.config import BenchmarkParams
from clipn.errors import InvalidData, MissingInput
from clipn.report.render.document import Gallery, Grid, Text
from clipn.report.sections import overlaps
from clipn.report.summary import BenchmarkSummary
from clipn.utils.files import read_json, write_json
from tests.report import made_up

SMALL = BenchmarkParams(id="cats", ood=("dogs", "cars"))
FILE = Path("reports/overlap/small.json")


@pytest.fixture
def benchmark() -> BenchmarkSummary:
    return made_up.benchmark(made_up.method("MSP", {"dogs": [0.5], "cars": [0.5]}))


def rows(overlap: overlaps.Overlap, benchmark: BenchmarkSummary) -> list[list[str]]:
    """Header and cells of the table."""
    grid = overlaps.table(overlap, benchmark)
    return [[column.name for column in grid.columns], *([row.name, *map(str, row.cells)] for row in grid.rows)]


def without_duplicates(project: Path) -> None:
    values = read_json(project / FILE)
    for of_set in values["sets"].values():
        for other in {"id", "training"} & of_set.keys():
            of_set[other] = {"exact": 0, "near": 0}
    write_json(project / FILE, values)
    for picture in (project / "data/overlap/small").iterdir():
        picture.unlink()


def test_a_row_for_each_set(project: Path, benchmark: BenchmarkSummary) -> None:
    overlap = overlaps.read(project, "small", SMALL)
    assert rows(overlap, benchmark) == [
        ["set", "images", "exact of ID", "near of ID", "exact of training", "near of training"],
        ["cats", "4", "–", "–", "0", "0"],
        ["dogs", "6", "1", "0", "0", "1"],
        ["cars", "2", "1", "0", "0", "1"],
    ]
    assert list(overlap.pictures) == [("dogs", "id"), ("dogs", "training"), ("cars", "id"), ("cars", "training")]


def test_what_was_left_out(project: Path, benchmark: BenchmarkSummary) -> None:
    overlap = overlaps.read(project, "small", SMALL)
    dropped = replace(benchmark, leave_out="id", left_out={"dogs": 1, "cars": 0})
    assert [row[-1] for row in rows(overlap, dropped)] == ["left out", "–", "1", "0"]
    assert overlaps.sentence(overlap, dropped) == (
        "Compared: the OOD images with those of cats, and all images with the training images. Exact duplicates "
        "have equal pixels; near duplicates have features of cosine 0.95 or more. OOD images that duplicate an ID "
        "image are left out of the results."
    )


def test_without_training_images(project: Path, benchmark: BenchmarkSummary) -> None:
    values = read_json(project / FILE)
    for of_set in values["sets"].values():
        del of_set["training"]
    write_json(project / FILE, values)
    overlap = overlaps.read(project, "small", SMALL)
    assert rows(overlap, benchmark)[0] == ["set", "images", "exact of ID", "near of ID"]
    assert overlaps.sentence(overlap, benchmark).startswith("Compared: the OOD images with those of cats. Exact")


def test_no_duplicates_are_one_sentence(project: Path, benchmark: BenchmarkSummary) -> None:
    without_duplicates(project)
    sentence = overlaps.sentence(overlaps.read(project, "small", SMALL), benchmark)
    assert sentence == (
        "No duplicates were found when comparing the OOD images with those of cats, and all images with the training "
        "images (near duplicates have features of cosine 0.95 or more)."
    )
    heading, *blocks = overlaps.blocks(overlaps.read(project, "small", SMALL), benchmark)
    assert [heading, *blocks] == [Text("Duplicates", "heading"), Text(sentence, "note")]


def test_numbers_and_pairs_are_shown(project: Path, benchmark: BenchmarkSummary) -> None:
    _, _, grid, gallery, note = overlaps.blocks(overlaps.read(project, "small", SMALL), benchmark)
    assert isinstance(grid, Grid)
    assert isinstance(gallery, Gallery)
    assert isinstance(note, Text)
    assert [(figure.caption, figure.note) for figure in gallery.figures] == [
        ("dogs", "above, ID images below"),
        ("dogs", "above, training images below"),
        ("cars", "above, ID images below"),
        ("cars", "above, training images below"),
    ]
    assert note.page_only


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("threshold"), "threshold: "),
        (lambda v: v["sets"]["dogs"]["id"].update(exact=-1), r"sets\.dogs\.id\.exact: "),
        (lambda v: v["sets"].pop("cars"), "is of other sets than benchmark 'small'"),
        (lambda v: v.update(id="dogs"), "is of other sets than benchmark 'small'"),
    ],
)
def test_wrong_numbers_are_refused(project: Path, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    values = read_json(project / FILE)
    change(values)
    write_json(project / FILE, values)
    with pytest.raises(InvalidData, match=rf"small\.json .*{message}"):
        overlaps.read(project, "small", SMALL)


def test_missing_numbers_and_damaged_pictures(project: Path) -> None:
    (project / "data/overlap/small/dogs.id.webp").write_bytes(b"no picture")
    with pytest.raises(InvalidData, match=r"dogs\.id\.webp: not an image"):
        overlaps.read(project, "small", SMALL)
    (project / FILE).unlink()
    with pytest.raises(MissingInput, match=r"small\.json does not exist"):
        overlaps.read(project, "small", SMALL)

from __future__ import annotations

from pathlib import Path

import pytest

from clipn.data import manifest, tars
from clipn.data.manifest import Entry
from clipn.errors import InvalidData, MissingInput
from clipn.report.inputs import samples
from clipn.utils.files import write_json


def test_images_are_spread_evenly_and_named(project: Path) -> None:
    found = samples.read(project, "dogs", 3)  # keys 1, 3 and 5 of 0 to 5
    assert [sample.name for sample in found] == ["dogs two"] * 3
    assert found[0].image.getpixel((0, 0)) == (30, 120, 200)


def test_no_more_images_than_there_are(project: Path) -> None:
    assert [sample.name for sample in samples.read(project, "cars", 10)] == ["cars one", "cars two"]


def test_set_without_classes_has_images_without_names(project: Path) -> None:
    write_json(project / "data/sets/cars/classes.json", [])
    assert [sample.name for sample in samples.read(project, "cars", 2)] == [None, None]


def test_failed_and_damaged_images_are_left_out(project: Path) -> None:
    folder = project / "data/sets/cars"
    good = dict(tars.read(folder / "images.tar"))["00000000"]
    tars.write(folder / "images.tar", [("a", good), ("b", {"png": b"no image"}), ("d", good)])
    entries = [Entry(key=key, url=key, shard="images.tar") for key in "abd"]
    manifest.write(folder / "manifest.parquet", [*entries, Entry(key="c", url="c", status="unreadable")])
    assert len(samples.read(project, "cars", 4)) == 2


def test_nothing_to_show_is_an_error(project: Path) -> None:
    folder = project / "data/sets/cars"
    tars.write(folder / "images.tar", [("00000000", {"png": b"no image"})])
    with pytest.raises(InvalidData, match=r"cars/images\.tar has no image"):
        samples.read(project, "cars", 2)
    manifest.write(folder / "manifest.parquet", [])
    with pytest.raises(InvalidData, match=r"cars/images\.tar has no image"):
        samples.read(project, "cars", 2)


def test_missing_set_and_wrong_class_names_are_named(project: Path) -> None:
    with pytest.raises(MissingInput, match="boats"):
        samples.read(project, "boats", 1)
    write_json(project / "data/sets/cars/classes.json", {"0": "car"})
    with pytest.raises(InvalidData, match=r"cars/classes\.json"):
        samples.read(project, "cars", 1)

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from clipn.data import manifest, tars
from clipn.data.manifest import Entry
from clipn.errors import InvalidData, MissingInput
from clipn.report.inputs import samples
from clipn.utils.files import write_json


def write_tar(folder: Path, images: dict[str, bytes]) -> list[Entry]:
    """A tar and the manifest's rows of what it holds."""
    tars.write(folder / "images.tar", [(key, {"png": data}) for key, data in images.items()])
    return [
        Entry(key, key, shard="images.tar", sha256=hashlib.sha256(data).hexdigest()) for key, data in images.items()
    ]


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
    good = dict(tars.read(folder / "images.tar"))["00000000"]["png"]
    entries = write_tar(folder, {"a": good, "b": b"no image", "d": good})
    manifest.write(folder / "manifest.parquet", [*entries, Entry(key="c", url="c", status="unreadable")])
    assert len(samples.read(project, "cars", 4)) == 2


def test_nothing_to_show_is_an_error(project: Path) -> None:
    folder = project / "data/sets/cars"
    manifest.write(folder / "manifest.parquet", write_tar(folder, {"00000000": b"no image"}))
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


def test_a_set_that_is_not_the_one_of_its_manifest_is_an_error(project: Path) -> None:
    folder = project / "data/sets/cars"
    write_tar(folder, {"00000000": b"another", "00000001": b"another"})
    with pytest.raises(InvalidData, match=r"cars/images\.tar: the image 00000000 is not the one in the manifest"):
        samples.read(project, "cars", 2)

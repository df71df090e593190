"""Images out of tars: which come, and what is said where a tar and its manifest do not agree."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from clipn.data import tars, verified
from clipn.data.manifest import Entry
from clipn.errors import InvalidData, MissingInput

IMAGES = {"0": b"zero", "1": b"one", "2": b"two"}


def row(key: str, data: bytes) -> Entry:
    return Entry(key, f"{key}.jpg", shard="a.tar", sha256=hashlib.sha256(data).hexdigest())


ROWS = [row(key, data) for key, data in IMAGES.items()]


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    path = tmp_path / "a.tar"
    tars.write(path, [(key, {"mask.png": b"m", "jpg": data, "txt": b"x"}) for key, data in IMAGES.items()])
    return path


def test_the_images_of_the_rows_come_in_the_tars_order(tar: Path) -> None:
    assert list(verified.read(tar, reversed(ROWS))) == list(zip(ROWS, IMAGES.values(), strict=True))
    assert list(verified.read(tar, ROWS[1:2])) == [(ROWS[1], b"one")]
    assert list(verified.read(tar, [])) == []


def test_images_are_located_and_read_where_they_lie(tar: Path) -> None:
    located = list(verified.locate(tar, reversed(ROWS[1:])))
    assert [image.entry for image in located] == ROWS[1:]
    assert [image.read() for image in reversed(located)] == [b"two", b"one"]
    assert list(verified.locate(tar, [])) == []


def test_what_is_located_is_compared_when_it_is_read(tar: Path) -> None:
    (image,) = verified.locate(tar, [row("1", b"another")])
    with pytest.raises(InvalidData, match=r"a\.tar: the image 1 is not the one in the manifest; delete the tar"):
        image.read()
    tar.unlink()
    with pytest.raises(InvalidData, match=r"a\.tar is a damaged tar"):
        image.read()


def test_locating_finds_what_is_missing_cut_or_gone(tar: Path) -> None:
    with pytest.raises(InvalidData, match=r"a\.tar lacks 2 images of the manifest, the first 3; .* run 'dvc repro'"):
        list(verified.locate(tar, [*ROWS, row("7", b""), row("3", b"")]))
    tar.write_bytes(tar.read_bytes()[: 3 * 1024])
    with pytest.raises(InvalidData, match=r"a\.tar is cut off"):
        list(verified.locate(tar, ROWS[:1]))
    tar.unlink()
    with pytest.raises(MissingInput, match=r"a\.tar does not exist; run 'dvc pull'"):
        next(verified.locate(tar, ROWS))


def test_an_image_that_was_exchanged_is_named(tar: Path) -> None:
    with pytest.raises(InvalidData, match=r"a\.tar: the image 1 is not the one in the manifest; delete the tar"):
        list(verified.read(tar, [ROWS[0], row("1", b"another")]))


def test_missing_images_are_counted_and_the_first_is_named(tar: Path) -> None:
    with pytest.raises(InvalidData, match=r"a\.tar lacks 2 images of the manifest, the first 3; .* run 'dvc repro'"):
        list(verified.read(tar, [*ROWS, row("7", b""), row("3", b"")]))


def test_a_sample_without_an_image_counts_as_missing(tar: Path) -> None:
    tars.write(tar, [("0", {"txt": b"x", "mask.png": b"zero"})])
    with pytest.raises(InvalidData, match="lacks 1 images of the manifest, the first 0"):
        list(verified.read(tar, ROWS[:1]))


def test_a_tar_that_was_cut_behind_the_wanted_image_is_refused(tar: Path) -> None:
    tar.write_bytes(tar.read_bytes()[: 3 * 1024])  # the three files of the first sample
    with pytest.raises(InvalidData, match=r"a\.tar is cut off"):
        list(verified.read(tar, ROWS[:1]))


def test_a_missing_tar_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"gone\.tar does not exist; run 'dvc pull'"):
        next(verified.read(tmp_path / "gone.tar", ROWS))


def test_all_samples_pass_a_check_and_the_listed_ones_are_compared(tar: Path) -> None:
    samples = list(tars.read(tar))
    assert list(verified.check(samples, {"1": ROWS[1]}, "a.tar")) == samples
    with pytest.raises(InvalidData, match=r"^a\.tar: the image 1 is not"):
        list(verified.check(samples, {"1": ROWS[0]}, "a.tar"))


def test_the_image_of_a_sample_has_the_extension_of_one() -> None:
    assert verified.image_of({"mask.png": 1, "txt": 2, "webp": 3, "jpg": 4}) == 3
    assert verified.image_of({"mask.png": 1, "txt": 2}) is None


def test_a_place_is_read_as_long_as_it_holds_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"..one..")
    place = (str(path), 2, 3, hashlib.sha256(b"one").hexdigest())
    assert verified.read_at(*place) == b"one"
    path.write_bytes(b"..two..")
    with pytest.raises(InvalidData, match=r"a\.tar changed since the captions stage read it; run 'dvc repro captions'"):
        verified.read_at(*place)
    path.unlink()
    with pytest.raises(MissingInput, match=r"a\.tar cannot be read any more"):
        verified.read_at(*place)

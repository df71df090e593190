"""Images by their key, and what is said where they are not as the manifest says."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipn.data import tars
from clipn.errors import InvalidData, MissingInput
from clipn.features import lookup
from clipn.features.lookup import Images
from tests.overlap_data import MAX_PIXELS, Picture, write_images

PICTURES = [Picture(seed, 0, form) for seed, form in enumerate(["png", "webp", "jpg"])]


@pytest.fixture
def source(tmp_path: Path) -> Images:
    return write_images(tmp_path / "set", PICTURES)


def test_images_come_with_their_pixels(source: Images) -> None:
    found = lookup.entries([(source, "0"), (source, "1"), (source, "0")])
    assert {key: entry.width for (_, key), entry in found.items()} == {"0": 12, "1": 12}
    decoded = {key: image for (_, key), image in lookup.decoded(found, MAX_PIXELS)}
    assert sorted(decoded) == ["0", "1"]
    assert decoded["0"].size == decoded["1"].size == (12, 10)
    assert decoded["0"].tobytes() != decoded["1"].tobytes()


def test_tars_without_a_wanted_image_are_not_read(source: Images) -> None:
    (source.shards / "0.tar").unlink()
    assert [key for key, _ in source.decoded(source.entries(["1"]).values(), MAX_PIXELS)] == ["1"]
    with pytest.raises(MissingInput, match=r"0\.tar does not exist; run 'dvc pull'"):
        list(source.decoded(source.entries(["0"]).values(), MAX_PIXELS))


def test_keys_that_the_manifest_lacks_are_named(source: Images) -> None:
    with pytest.raises(InvalidData, match=r"manifest\.parquet lacks 2 images of .*, the first 7; make the features"):
        source.entries(["0", "8", "7"])


def test_manifests_that_are_none(source: Images) -> None:
    source.manifest.write_bytes(b"no Parquet")
    with pytest.raises(InvalidData, match=r"manifest\.parquet is no manifest"):
        source.entries(["0"])
    source.manifest.unlink()
    with pytest.raises(MissingInput, match=r"manifest\.parquet does not exist"):
        source.entries(["0"])


def test_other_images_than_the_manifest_says(source: Images) -> None:
    entries = source.entries(["0", "2"]).values()
    tars.write(source.shards / "0.tar", [("0", {"png": PICTURES[0].file()})])
    with pytest.raises(InvalidData, match=r"0\.tar lacks 1 images of .*, the first 2"):
        list(source.decoded(entries, MAX_PIXELS))
    tars.write(source.shards / "0.tar", [("0", {"png": PICTURES[1].file()})])
    with pytest.raises(InvalidData, match=r"0\.tar: the image 0 is not the one in the manifest"):
        list(source.decoded(entries, MAX_PIXELS))

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipn.config import CaptionsParams, WorldParams
from clipn.data import tars, verified
from clipn.data.captions.prepare import FILE_NAME, check_captions, prepare_captions
from clipn.errors import InvalidData, MissingInput

WORLD = WorldParams(image_size=16, noise=0, rotation=0, seed=0)


def image(i: int, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (5, 4), (i, 0, 0)).save(buffer, kind)
    return buffer.getvalue()


def prepare(source: str, path: Path, **options: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The report and the rows of the captions stage."""
    params = CaptionsParams(source, str(path), str(path), **options)  # type: ignore[arg-type]
    check_captions(params)
    out = path.parent / "captions-out"
    report = prepare_captions(params, WORLD, out, cache=path.parent / "cache")
    return report, pq.read_table(out / FILE_NAME).to_pylist()


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two tars as crawlers write them."""
    folder = tmp_path / "tars"
    folder.mkdir()
    first = [
        ("000", {"jpg": image(0), "txt": b" a red cat\n", "json": b'{"caption": "not this one"}'}),
        ("001", {"jpg": image(1), "json": json.dumps({"caption": "ein Käfer"}).encode()}),
        ("002", {"txt": b"no picture"}),
        ("003", {"jpg": image(3)}),
        ("004", {"jpg": image(4), "txt": b"  "}),
        ("005", {"jpg": image(5), "txt": b"\xff\xfe"}),
        ("006", {"jpg": image(6), "json": b'{"caption": 7}'}),
        ("007", {"jpg": image(7), "json": b"{"}),
    ]
    tars.write(folder / "train-0000.tar", first)
    tars.write(folder / "train-0001.tar", [("000", {"txt": b"a dog", "PNG": image(9, "PNG")})])
    return folder


def test_tars_are_indexed(shards: Path) -> None:
    report, rows = prepare("webdataset", shards)
    assert [(row["url"], row["caption"], row["flaky"]) for row in rows] == [
        ("train-0000.tar/000.jpg", "a red cat", False),
        ("train-0000.tar/001.jpg", "ein Käfer", False),
        ("train-0001.tar/000.PNG", "a dog", False),
    ]
    assert report["source"] == "webdataset"
    assert report["tars"] == 2
    assert report["counts"] == {
        "in": 9,
        "out": 3,
        "dropped": {"without_image": 1, "without_caption": 2, "empty": 1, "unreadable_caption": 2},
    }
    for row, data in zip(rows, [image(0), image(1), image(9, "PNG")], strict=True):
        assert row["sha256"] == hashlib.sha256(data).hexdigest()
        assert verified.read_at(row["archive"], row["offset"], row["size"], row["sha256"]) == data


def test_a_single_tar_a_pattern_and_a_limit(shards: Path) -> None:
    assert [row["url"] for row in prepare("webdataset", shards / "train-0001.tar")[1]] == ["train-0001.tar/000.PNG"]
    assert len(prepare("webdataset", shards, pattern="*-0001.*")[1]) == 1
    report, rows = prepare("webdataset", shards, limit=2)
    assert (len(rows), report["tars"]) == (2, 1)
    assert report["counts"] == {"in": 2, "out": 2, "dropped": {}}


@pytest.mark.parametrize(
    ("source", "path", "options", "message"),
    [
        ("webdataset", "nowhere", {}, r"nowhere does not exist"),
        ("webdataset", "tars", {"pattern": "*.tgz"}, r"tars has no file that matches captions\.pattern '\*\.tgz'"),
    ],
)
def test_sources_that_are_not_there(
    shards: Path, source: str, path: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(MissingInput, match=message):
        prepare(source, shards.parent / path, **options)


def test_damaged_tars_are_named(shards: Path) -> None:
    tar = shards / "train-0001.tar"
    data = tar.read_bytes()
    for content, message in [
        (data[:1024], "train-0001.tar is cut off"),  # between two members
        (data[:1800], "train-0001.tar is a damaged tar"),
        (b"", "train-0001.tar is a damaged tar"),
        (b"<html>" * 200, "train-0001.tar is a damaged tar"),
    ]:
        tar.write_bytes(content)
        with pytest.raises(InvalidData, match=message):
            prepare("webdataset", shards)
        assert not (shards.parent / "captions-out").exists()


def test_a_key_that_stands_twice_is_refused(shards: Path) -> None:
    sample = {"jpg": image(0), "txt": b"a"}
    tars.write(shards / "train-0001.tar", [("1", sample), ("2", sample), ("1", sample)])
    with pytest.raises(InvalidData, match="the key '1' appears twice"):
        prepare("webdataset", shards)


def test_tars_without_any_pair_say_what_they_lack(shards: Path) -> None:
    tars.write(shards / "train-0001.tar", [("1", {"jpg": image(0), "cls": b"3"})])
    with pytest.raises(InvalidData, match="no sample has both an image and a caption: 1 without caption"):
        prepare("webdataset", shards / "train-0001.tar")


def test_an_image_that_is_not_the_same_any_more(shards: Path) -> None:
    row = prepare("webdataset", shards)[1][0]
    place = (row["archive"], row["offset"], row["size"], row["sha256"])
    tars.write(shards / "train-0000.tar", [("000", {"jpg": image(77), "txt": b"x"})])
    with pytest.raises(InvalidData, match="changed since the captions stage read it"):
        verified.read_at(*place)
    (shards / "train-0000.tar").unlink()
    with pytest.raises(MissingInput, match=r"train-0000\.tar cannot be read any more"):
        verified.read_at(*place)

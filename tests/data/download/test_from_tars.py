"""Tars of pairs through the captions stage and the download stage, without any web server."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from clipn.data import manifest, tars
from clipn.data.download import crawl, from_tars, shards
from clipn.data.download.download import download
from clipn.errors import DownloadFailed, InvalidData
from tests.data.captions.test_webdataset import image, prepare
from tests.data.download.test_work import PARAMS as SMALL

PARAMS = dataclasses.replace(SMALL, min_success=0.5)


@pytest.fixture(autouse=True)
def no_crawl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crawl, "run", lambda *_, **__: pytest.fail("img2dataset was started"))


@pytest.fixture
def captions_file(tmp_path: Path) -> Path:
    """Five pairs in two tars; one image is cut off, one is a web page."""
    folder = tmp_path / "tars"
    folder.mkdir()
    tars.write(
        folder / "0.tar", [("b", {"jpg": image(1), "txt": b"one"}), ("a", {"png": image(2, "PNG"), "txt": b"2"})]
    )
    bad = [image(3)[:-80], b"<html>", image(4)]
    tars.write(folder / "1.tar", [(str(i), {"jpg": data, "txt": b"x"}) for i, data in enumerate(bad)])
    prepare("webdataset", folder)
    return tmp_path / "captions-out" / "captions.parquet"


def run(captions_file: Path, **changes: Any) -> dict[str, Any]:
    params = dataclasses.replace(PARAMS, **changes)
    return download(captions_file, captions_file.parent.parent / "out", params, processes=2, threads=1)


def test_images_keep_their_bytes_and_get_canonical_keys(captions_file: Path, tmp_path: Path) -> None:
    report = run(captions_file)
    entries = manifest.read(tmp_path / "out" / "manifest.parquet")
    assert [(e.key, e.url, e.status, e.shard) for e in entries] == [
        ("000000", "0.tar/b.jpg", "success", "00000.tar"),
        ("000001", "0.tar/a.png", "success", "00000.tar"),
        ("000010", "1.tar/0.jpg", "failed_to_decode", None),
        ("000011", "1.tar/1.jpg", "failed_to_decode", None),
        ("000020", "1.tar/2.jpg", "success", "00002.tar"),
    ]
    samples: dict[str, tars.Sample] = {}
    for tar in sorted((tmp_path / "out" / "shards").iterdir()):
        samples |= dict(tars.read(tar))
    assert {key: sample.get("jpg") or sample["png"] for key, sample in samples.items()} == {
        "000000": image(1),
        "000001": image(2, "PNG"),
        "000020": image(4),
    }
    assert json.loads(samples["000001"]["json"]) == {"url": "0.tar/a.png", "caption": "2", "key": "000001"}
    assert report["counts"] == {"in": 5, "out": 3, "resumed": 0, "dropped": {"failed_to_decode": 2}}
    assert report["errors"] == {"not an image": 2}
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == ["manifest.parquet", "shards"]


def test_too_few_images(captions_file: Path, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"60\.0% of 5 addresses gave an image \(success 3, failed_to_decode 2\)"):
        run(captions_file, min_success=0.9)
    assert not (tmp_path / "out" / "manifest.parquet").exists()
    assert run(captions_file)["counts"]["out"] == 3


def test_an_interrupted_run_goes_on(captions_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = shards.write
    with monkeypatch.context() as patch:
        patch.setattr(shards, "write", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt) if a[1] == 2 else write(*a))
        with pytest.raises(KeyboardInterrupt):
            run(captions_file, min_success=0.0)
    written: list[int] = []
    monkeypatch.setattr(shards, "write", lambda *a: (written.append(a[1]), write(*a)))
    assert run(captions_file, min_success=0.0)["counts"] == {
        "in": 5,
        "out": 3,
        "resumed": 2,
        "dropped": {"failed_to_decode": 2},
    }
    assert written == [2]


def test_a_tar_that_changed_in_between_is_named(captions_file: Path, tmp_path: Path) -> None:
    tars.write(tmp_path / "tars" / "0.tar", [("b", {"jpg": image(99), "txt": b"one"})])
    with pytest.raises(InvalidData, match=r"0\.tar changed since the captions stage read it; run 'dvc repro captions'"):
        run(captions_file)
    assert not (tmp_path / "out" / "manifest.parquet").exists()


def test_rows_are_read_by_their_number(captions_file: Path) -> None:
    rows = from_tars.PackedRows(captions_file)
    assert (len(rows), rows[1].caption, rows.read(1)) == (5, "2", image(2, "PNG"))

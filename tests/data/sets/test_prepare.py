"""Evaluation sets from their source to the stage's folder, good and hostile ones."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipn.config import SetParams, WorldParams
from clipn.data import manifest, tars
from clipn.data.sets import class_names, registry
from clipn.data.sets.prepare import BATCH, check_set, prepare_set
from clipn.data.sets.registry import File, Layout, Registered
from clipn.errors import DownloadFailed, InvalidData, InvalidParams, MissingInput

WORLD = WorldParams(image_size=16, noise=10.0, rotation=5.0, seed=0)
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def make_image(kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, kind, **options)
    return buffer.getvalue()


def make_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def prepare(params: SetParams, out: Path, *, max_pixels: int = 100, max_dropped: float = 0.0, **more: Any) -> Any:
    return prepare_set("mine", params, WORLD, out, max_pixels=max_pixels, max_dropped=max_dropped, **more)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_becomes_tar_manifest_and_classes(tmp_path: Path) -> None:
    files = {"hot_dog/2.jpg": make_image("JPEG"), "ant/b.png": make_image(), "ant/a.webp": make_image("GIF")}
    make_tar(tmp_path / "x.tar", files)
    calls: list[tuple[int, int]] = []
    report = prepare(SetParams("tar", str(tmp_path / "x.tar")), tmp_path / "out", progress=lambda *c: calls.append(c))
    assert report["counts"] == {"in": 3, "out": 3, "dropped": {}, "classes": 2}
    assert report["origin"] == str(tmp_path / "x.tar")
    assert calls == [(3, 3)]
    assert sorted(contents(tmp_path / "out")) == ["classes.json", "images.tar", "manifest.parquet"]
    assert json.loads((tmp_path / "out" / "classes.json").read_text()) == ["ant", "hot dog"]
    # The extension is that of the real format, whatever the file was called.
    assert list(tars.read(tmp_path / "out" / "images.tar")) == [
        ("00000000", {"gif": files["ant/a.webp"]}),
        ("00000001", {"png": files["ant/b.png"]}),
        ("00000002", {"jpg": files["hot_dog/2.jpg"]}),
    ]
    entries = manifest.read(tmp_path / "out" / "manifest.parquet")
    assert [(e.key, e.url, e.label, e.width, e.height) for e in entries] == [
        ("00000000", "ant/a.webp", 0, 7, 5),
        ("00000001", "ant/b.png", 0, 7, 5),
        ("00000002", "hot_dog/2.jpg", 1, 7, 5),
    ]
    assert all(e.shard == "images.tar" for e in entries)
    assert entries[2].sha256 == hashlib.sha256(files["hot_dog/2.jpg"]).hexdigest()
    assert entries[2].bytes == len(files["hot_dog/2.jpg"])


def test_more_images_than_one_batch_keep_their_order(tmp_path: Path) -> None:
    images = {f"ant/{i:03d}.png": make_image() + bytes([i]) for i in range(2 * BATCH + 3)}
    prepare(SetParams("tar", str(make_tar(tmp_path / "x.tar", images))), tmp_path / "out")
    samples = list(tars.read(tmp_path / "out" / "images.tar"))
    assert [sample["png"][-1] for _, sample in samples] == list(range(2 * BATCH + 3))
    assert [key for key, _ in samples] == [f"{i:08d}" for i in range(2 * BATCH + 3)]


def test_bad_images_are_dropped_with_their_reason_and_keep_their_number(tmp_path: Path) -> None:
    whole = make_image("JPEG")
    files = {
        "ant/0.jpg": b"<html>",
        "ant/1.jpg": whole,
        "ant/2.jpg": whole[: len(whole) - 20],
        "bee/3.png": make_image()[:40],
        "bee/4.png": make_image(),
    }
    path = make_tar(tmp_path / "x.tar", files)
    report = prepare(SetParams("tar", str(path)), tmp_path / "out", max_dropped=0.6)
    assert report["counts"] == {"in": 5, "out": 2, "dropped": {"unreadable": 3}, "classes": 2}
    entries = manifest.read(tmp_path / "out" / "manifest.parquet")
    assert [e.status for e in entries] == ["unreadable", "success", "unreadable", "unreadable", "success"]
    assert "not an image (6 bytes)" in str(entries[0].error)
    assert "damaged image" in str(entries[2].error)
    assert [(e.shard, e.label) for e in entries if e.error] == [(None, 0), (None, 0), (None, 1)]
    assert [key for key, _ in tars.read(tmp_path / "out" / "images.tar")] == ["00000001", "00000004"]


def test_images_of_too_many_pixels_are_dropped(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "x.tar", {"ant/0.png": make_image(), "ant/1.png": make_image()})
    with pytest.raises(InvalidData, match=r"sets\.mine: 2 of 2 images in .* first is ant/0\.png: image of 7x5 pixels"):
        prepare(SetParams("tar", str(path)), tmp_path / "out", max_pixels=34, max_dropped=1.0)


def test_too_large_a_share_of_bad_images_fails_and_leaves_the_earlier_result(tmp_path: Path) -> None:
    good = make_tar(tmp_path / "good.tar", {"ant/0.png": make_image()})
    bad = make_tar(tmp_path / "bad.tar", {"ant/0.png": make_image(), "ant/1.png": b"", "ant/2.png": make_image()})
    prepare(SetParams("tar", str(good)), tmp_path / "out")
    before = contents(tmp_path / "out")
    prepare(SetParams("tar", str(bad)), tmp_path / "other", max_dropped=0.34)
    with pytest.raises(InvalidData, match=r"1 of 3 images .* features\.max_dropped \(0\.33\) .* ant/1\.png: not an im"):
        prepare(SetParams("tar", str(bad)), tmp_path / "out", max_dropped=0.33)
    assert contents(tmp_path / "out") == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.tar", "good.tar", "other", "out"]


@pytest.mark.parametrize(
    "params",
    [
        SetParams("symbols", "-", block="greek", images_per_class=2),
        SetParams("digits", "-", limit=20),
    ],
    ids=["symbols", "digits"],
)
def test_equal_parameters_give_equal_bytes(tmp_path: Path, params: SetParams) -> None:
    prepare(params, tmp_path / "a", max_pixels=10_000)
    prepare(params, tmp_path / "b", max_pixels=10_000)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_errors_in_the_manifest_repeat_too(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "x.tar", {"ant/0.png": b"junk", "ant/1.png": make_image()})
    for out in ("a", "b"):
        prepare(SetParams("tar", str(path)), tmp_path / out, max_dropped=0.5)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize(("limit", "kept"), [(1, [0]), (2, [0, 5]), (3, [0, 3, 6]), (10, list(range(10))), (99, None)])
def test_a_limit_is_spread_evenly(tmp_path: Path, limit: int, kept: list[int] | None) -> None:
    path = make_tar(tmp_path / "x.tar", {f"ant/{i}.png": make_image() for i in range(10)})
    report = prepare(SetParams("tar", str(path), limit=limit), tmp_path / "out")
    entries = manifest.read(tmp_path / "out" / "manifest.parquet")
    kept = list(range(10)) if kept is None else kept
    assert [e.url for e in entries] == [f"ant/{i}.png" for i in kept]
    assert [e.key for e in entries] == [f"{i:08d}" for i in range(len(kept))]
    assert report["counts"]["dropped"] == ({"over_limit": 10 - len(kept)} if len(kept) < 10 else {})


def test_parts_share_no_image_and_have_all_classes(tmp_path: Path) -> None:
    make_tar(tmp_path / "x.tar", {f"{c}/{i}.png": make_image() for c in ("ant", "bee") for i in range(4)})
    urls = []
    for number, take in enumerate(([1], [2, 4], [3])):
        params = SetParams(reader="tar", path=str(tmp_path / "x.tar"), part={"of": 4, "take": take})
        report = prepare(params, tmp_path / f"out{number}")
        urls.append([entry.url for entry in manifest.read(tmp_path / f"out{number}/manifest.parquet")])
        assert report["counts"]["dropped"] == {"other_part": 8 - len(urls[-1])}
        assert json.loads((tmp_path / f"out{number}/classes.json").read_text()) == ["ant", "bee"]
    assert urls[0] == ["ant/0.png", "bee/0.png"]
    assert urls[1] == ["ant/1.png", "ant/3.png", "bee/1.png", "bee/3.png"]
    assert len({url for part in urls for url in part}) == 8


@pytest.mark.parametrize("reader", ["tar", "digits", "symbols"])
def test_without_labels_there_are_no_classes(tmp_path: Path, reader: str) -> None:
    path = make_tar(tmp_path / "x.tar", {"top.png": make_image(), "deep/er/x.png": make_image()})
    params = SetParams(reader, str(path), labelled=False, limit=5, block="greek", images_per_class=1)
    prepare(params, tmp_path / "out", max_pixels=1000)
    assert json.loads((tmp_path / "out" / "classes.json").read_text()) == []
    assert {e.label for e in manifest.read(tmp_path / "out" / "manifest.parquet")} == {None}


def test_class_names_from_a_file(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "x.tar", {"n1/1.png": make_image(), "n2/1.png": make_image()})
    (tmp_path / "names.txt").write_text("ant\nhoney bee\n")
    prepare(SetParams("tar", str(path), class_names=str(tmp_path / "names.txt")), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "classes.json").read_text()) == ["ant", "honey bee"]


@pytest.mark.parametrize(
    ("members", "options", "problem"),
    [
        (
            {"readme.txt": b""},
            {},
            r"there is no image in .*x\.tar; expected is CLASS/FILE with one of the endings \.bmp",
        ),
        ({"readme.txt": b""}, {"labelled": False}, r"expected is FILE with one of"),
        ({"1.png": b"", "2.png": b""}, {}, r"x\.tar: the image '1\.png' is in no class folder"),
        ({"ant/1.png": b"", "../1.png": b""}, {}, r"x\.tar has a member outside of its own folder: '\.\./1\.png'"),
        ({"ant/1.png": b"\x89PNG"}, {}, r"1 of 1 images in .*x\.tar are unreadable"),
    ],
)
def test_sets_that_cannot_be_used(
    tmp_path: Path, members: dict[str, bytes], options: dict[str, Any], problem: str
) -> None:
    path = make_tar(tmp_path / "x.tar", members)
    with pytest.raises(InvalidData, match=rf"^sets\.mine: .*{problem}"):
        prepare(SetParams("tar", str(path), **options), tmp_path / "out", max_dropped=1.0)
    assert [p.name for p in tmp_path.iterdir()] == ["x.tar"]


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Registered]]:
    """A registry whose addresses are on a loopback server of the folder `www`."""
    make_tar(tmp_path / "www" / "good.tar.gz", {"dtd/images/ant/1.png": make_image()}, "w:gz")
    make_tar(tmp_path / "www" / "evil.tar.gz", {"dtd/images/../../1.png": make_image()}, "w:gz")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "www")))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    md5 = hashlib.md5((tmp_path / "www" / "good.tar.gz").read_bytes()).hexdigest()

    def entry(file: str, *, classes: int = 1, md5: str | None = None) -> Registered:
        files = (File(f"http://127.0.0.1:{server.server_port}/{file}", md5=md5),)
        return Registered("Things", "tar", 1, classes, "free", files, layout=Layout(prefix="dtd/images"))

    entries = {
        "good": entry("good.tar.gz", md5=md5),
        "changed": entry("good.tar.gz", md5="0" * 32),
        "poorer": entry("good.tar.gz", classes=2),
        "plain": entry("good.tar.gz", classes=0),
        "evil": entry("evil.tar.gz"),
        "gone": entry("gone.tar.gz"),
    }
    monkeypatch.setattr(registry, "registry", lambda: entries)
    yield entries
    server.shutdown()
    server.server_close()


def test_a_registered_archive_is_fetched_once_and_read_below_its_prefix(
    tmp_path: Path, archives: dict[str, Registered]
) -> None:
    params = SetParams("tar", "-", registered="good")
    cache = tmp_path / "cache"
    report = prepare(params, tmp_path / "out", cache=cache)
    digest = hashlib.sha256((tmp_path / "www" / "good.tar.gz").read_bytes()).hexdigest()
    assert report["origin"] == f"Things, {archives['good'].files[0].address}, sha256 {digest}"
    assert [e.url for e in manifest.read(tmp_path / "out" / "manifest.parquet")] == ["dtd/images/ant/1.png"]
    assert json.loads((tmp_path / "out" / "classes.json").read_text()) == ["ant"]
    assert sorted(contents(cache)) == ["good.tar.gz"]
    (tmp_path / "www" / "good.tar.gz").unlink()
    prepare(params, tmp_path / "out", cache=cache)


@pytest.mark.parametrize(
    ("name", "error", "problem"),
    [
        ("changed", DownloadFailed, "has the md5 .* and not 0000"),
        ("gone", DownloadFailed, r"could not fetch http.*gone\.tar\.gz: the server answered 404"),
        ("evil", InvalidData, "has a member outside of its own folder"),
        ("poorer", InvalidData, "Things has 2 classes, but 1 are there"),
        ("plain", InvalidParams, "'plain' has no classes; set labelled: false"),
        ("other", InvalidParams, "no registered set 'other'; known: good, changed"),
    ],
)
def test_registered_archives_that_cannot_be_used(
    tmp_path: Path, archives: dict[str, Registered], name: str, error: type[Exception], problem: str
) -> None:
    with pytest.raises(error, match=rf"sets\.mine: .*{problem}"):
        prepare(SetParams("tar", "-", registered=name), tmp_path / "out", cache=tmp_path / "cache")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob("**/1.png"))


def test_a_licensed_set_is_read_from_the_folder_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in class_names.imagenet("imagenet"):
        (tmp_path / "val" / folder).mkdir(parents=True)
        (tmp_path / "val" / folder / "x.JPEG").write_bytes(make_image("JPEG"))
    monkeypatch.setenv("CLIPN_IMAGENET", str(tmp_path / "val"))
    params = SetParams("folder", "-", registered="imagenet", limit=4)
    check_set("id", params)
    report = prepare(params, tmp_path / "out")
    assert report["counts"] == {"in": 1000, "out": 4, "dropped": {"over_limit": 996}, "classes": 1000}
    assert str(tmp_path) not in json.dumps(report)
    assert json.loads((tmp_path / "out" / "classes.json").read_text())[1] == "goldfish"
    (tmp_path / "val" / "n01443537" / "x.JPEG").unlink()
    with pytest.raises(InvalidData, match=r"sets\.id: ImageNet-1K, .* has 1000 classes, but 999 are there; complete"):
        check_set("id", params)


def test_a_subset_is_read_from_the_same_folder_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in class_names.imagenet("imagenet"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.JPEG").write_bytes(make_image("JPEG"))
    monkeypatch.setenv("CLIPN_IMAGENET", str(tmp_path))
    params = SetParams("layout", "-", registered="imagenet30")
    check_set("id", params)
    report = prepare(params, tmp_path / "out")
    assert (report["counts"]["in"], report["counts"]["classes"]) == (30, 30)
    assert json.loads((tmp_path / "out" / "classes.json").read_text())[:2] == ["stingray", "American alligator"]
    (tmp_path / "n04389033" / "x.JPEG").unlink()
    with pytest.raises(InvalidData, match="the registry's list lists 1 that have no image, the first is 'n04389033'"):
        prepare(params, tmp_path / "out")


def test_check_names_the_variable_of_a_licensed_set(monkeypatch: pytest.MonkeyPatch) -> None:
    params = SetParams("folder", "-", registered="imagenet")
    monkeypatch.delenv("CLIPN_IMAGENET", raising=False)
    with pytest.raises(MissingInput, match=r"sets\.id: ImageNet-1K.*image-net\.org.*variable is CLIPN_IMAGENET; it is"):
        check_set("id", params)
    monkeypatch.setenv("CLIPN_IMAGENET", "/nowhere")
    with pytest.raises(MissingInput, match=r"sets\.id: /nowhere, which CLIPN_IMAGENET names, does not exist"):
        check_set("id", params)


@pytest.mark.parametrize(
    ("params", "error", "problem"),
    [
        (SetParams("symbols", "-", block="runes", images_per_class=1), InvalidParams, "no block 'runes'"),
        (SetParams("tar", "-", registered="cifar10"), InvalidParams, "'cifar10' needs the reader 'cifar', not 'tar'"),
        (SetParams("cifar", "-", registered="mnist"), InvalidParams, "no registered set 'mnist'"),
        (SetParams("tar", "gone.tar"), MissingInput, r"gone\.tar does not exist"),
        (SetParams("folder", "gone"), MissingInput, "gone is no folder"),
        (SetParams("webdataset", "gone-*.tar"), MissingInput, "matches none"),
        (SetParams("digits", "-", class_names="gone.txt"), MissingInput, r"gone\.txt does not exist"),
        (SetParams("folder", "empty"), InvalidData, "empty has no class folders; expected is CLASS/FILE"),
        (SetParams("folder", "full", class_names="two.txt"), InvalidData, "2 names for 1 classes"),
    ],
)
def test_check_finds_what_is_cheap_to_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: SetParams, error: type[Exception], problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("full/ant").mkdir(parents=True)
    Path("full/ant/1.png").write_bytes(make_image())
    Path("two.txt").write_text("ant\nbee\n")
    with pytest.raises(error, match=rf"^sets\.mine: .*{problem}"):
        check_set("mine", params)
    with pytest.raises(error, match=rf"^sets\.mine: .*{problem}"):
        prepare(params, tmp_path / "out")


def test_good_sets_pass_the_check(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "x.tar", {"ant/1.png": make_image()})
    for params in (
        SetParams("symbols", "-", block="greek", images_per_class=1),
        SetParams("digits", "-"),
        SetParams("digits", "-", registered="digits"),
        SetParams("tar", str(path)),
        SetParams("webdataset", str(path)),
        SetParams("svhn", "-", registered="svhn"),
    ):
        check_set("mine", params)


def test_the_stage_does_not_import_torch() -> None:
    code = "import sys, clipn.data.sets.prepare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0

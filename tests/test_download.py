"""The download stage with the real img2dataset against real web servers on loopback."""

from __future__ import annotations

import dataclasses
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from clipn import captions, crawl, manifest, shards, tars
from clipn.config import DownloadParams
from clipn.download import _fingerprint, download
from clipn.errors import DownloadFailed, InvalidData, InvalidParams, MissingInput
from clipn.webserver import LoopbackServer

PARAMS = DownloadParams(
    image_size=32,
    resize_mode="keep_ratio",
    encode_format="png",
    encode_quality=1,
    samples_per_shard=16,
    timeout_seconds=1,
    retries=1,
    deadline_seconds=60,
    passes=2,
    min_success=0.5,
)
TOTAL, MISSING, TEXT, CUT, REMOTE, REMOTE_GONE, LARGE, DRIP = 40, 3, 5, 6, 8, 9, 11, 35
FLAKY = frozenset({1, 12, 33})


class DripServer:
    """Answers each first request with a 404, each second one with a byte ten times a second without end."""

    def __init__(self, start: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> None:
        self.requests = 0
        self.start = start
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}/picture.png"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client:
            client.recv(2**16)
            self.requests += 1
            try:
                if self.requests % 2:
                    client.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                    return
                client.sendall(self.start)
                while True:
                    client.sendall(b"x")
                    time.sleep(0.1)
            except OSError:
                return


def write_captions(folder: Path, rows: list[tuple[str, str, bool]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    table = pa.table(dict(zip(captions.SCHEMA.names, columns, strict=True)), schema=captions.SCHEMA)
    pq.write_table(table, folder / "captions.parquet")
    return folder / "captions.parquet"


def picture(seed: int, size: tuple[int, int]) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def content(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def children() -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]


@dataclasses.dataclass
class World:
    captions_file: Path
    urls: list[str]
    drip: DripServer


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """40 captions: local and remote, good and bad in every way that links are bad."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "images").mkdir()
    (folder / "web.png").write_bytes(picture(99, (20, 30)))
    drip = DripServer()
    with LoopbackServer([folder / "web.png", folder / "gone.png"]) as web:
        urls = [f"images/bild ü{i}.png" for i in range(TOTAL)]
        urls[REMOTE], urls[REMOTE_GONE], urls[DRIP] = web.address(0), web.address(1), drip.address
        for i, url in enumerate(urls):
            data = picture(i, (96, 64) if i == LARGE else (20, 30))
            if i == TEXT:
                data = captions.NOT_AN_IMAGE
            if i == CUT:
                data = data[: len(data) // 2]
            if not url.startswith("http") and i != MISSING:
                (folder / url).write_bytes(data)
        rows = [(url, f'Nummer "{i}",\tein Käfer\n☃', i in FLAKY) for i, url in enumerate(urls)]
        yield World(write_captions(folder, rows), urls, drip)
    drip.close()


@dataclasses.dataclass
class Finished:
    out: Path
    report: dict[str, Any]
    failure: str
    """What the first attempt said, which asked for more than can be had."""
    left: list[str]
    """What that attempt left behind."""
    progress: list[tuple[int, int]]


@pytest.fixture(scope="module")
def finished(world: World, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    out = tmp_path_factory.mktemp("out") / "download"
    progress: list[tuple[int, int]] = []
    world.drip.requests = 0
    with pytest.raises(DownloadFailed) as caught:
        download(
            world.captions_file,
            out,
            dataclasses.replace(PARAMS, min_success=1.0),
            processes=2,
            threads=8,
            progress=lambda done, total: progress.append((done, total)),
        )
    left = [f.name for f in out.iterdir()]
    report = download(world.captions_file, out, PARAMS, processes=2, threads=8)
    return Finished(out, report, str(caught.value), left, progress)


def test_manifest_has_a_row_for_every_caption(world: World, finished: Finished) -> None:
    entries = manifest.read(finished.out / "manifest.parquet")
    assert [entry.url for entry in entries] == world.urls
    assert [entry.key for entry in entries[15:18]] == ["0000015", "0000100", "0000101"]
    failures = {i: (e.status, e.error) for i, e in enumerate(entries) if e.status != "success"}
    assert failures == {
        MISSING: ("failed_to_download", "HTTP Error 404: Not Found"),
        REMOTE_GONE: ("failed_to_download", "HTTP Error 404: Not Found"),
        TEXT: ("failed_to_resize", "Image decoding error"),
        CUT: ("failed_to_resize", "Image decoding error"),
        DRIP: ("failed_to_download", "not complete after 3 s"),
    }
    assert {e.shard for e in entries} == {"00000.tar", "00001.tar", "00002.tar", None}


def test_images_keep_their_pixels_and_only_large_ones_are_resized(world: World, finished: Finished) -> None:
    entries = manifest.read(finished.out / "manifest.parquet")
    samples = {}
    for tar in sorted((finished.out / "shards").iterdir()):
        samples |= dict(tars.read(tar))
    assert list(samples) == [entry.key for entry in entries if entry.status == "success"]
    for i, entry in enumerate(entries):
        if entry.status != "success":
            continue
        sample = samples[entry.key]
        assert sample.keys() == {"png", "txt", "json"}
        assert sample["txt"].decode() == entry.caption == f'Nummer "{i}",\tein Käfer\n☃'
        assert json.loads(sample["json"])["url"] == entry.url
        with Image.open(io.BytesIO(sample["png"])) as image:
            assert (entry.width, entry.height) == image.size == ((48, 32) if i == LARGE else (20, 30))
            if i != LARGE:
                source = Image.open(io.BytesIO(picture(99 if i == REMOTE else i, (20, 30))))
                assert np.array_equal(np.asarray(image), np.asarray(source))


def test_webdataset_reads_the_shards(finished: Finished) -> None:
    urls = [str(tar) for tar in sorted((finished.out / "shards").iterdir())]
    keys = [sample["__key__"] for sample in webdataset.WebDataset(urls, shardshuffle=False)]
    entries = manifest.read(finished.out / "manifest.parquet")
    assert keys == [entry.key for entry in entries if entry.status == "success"]


def test_report(finished: Finished) -> None:
    report = finished.report
    assert (report["counts"]["in"], report["counts"]["out"], report["shards"]) == (TOTAL, TOTAL - 5, 3)
    assert report["counts"]["dropped"] == {"failed_to_download": 3, "failed_to_resize": 2}
    assert report["errors"] == {
        "HTTP Error 404: Not Found": 2,
        "Image decoding error": 2,
        "not complete after 3 s": 1,
    }
    entries = manifest.read(finished.out / "manifest.parquet")
    assert report["bytes"] == sum(entry.bytes or 0 for entry in entries) > 35 * 20 * 30
    assert set(report["seconds"]) == {"fetch", "verify"}


def test_too_few_images_fail_without_a_manifest_and_say_why(finished: Finished) -> None:
    assert finished.left == ["work"]
    assert "87.5% of 40 addresses gave an image" in finished.failure
    assert "success 35, failed_to_download 3, failed_to_resize 2" in finished.failure
    assert "download.min_success asks for 100.0%" in finished.failure
    assert "2 x HTTP Error 404: Not Found" in finished.failure


def test_a_lower_floor_goes_on_with_what_was_fetched(finished: Finished) -> None:
    assert (finished.report["passes"], finished.report["counts"]["resumed"]) == (0, 35)
    assert sorted(f.name for f in finished.out.iterdir()) == ["manifest.parquet", "shards"]


def test_progress_never_leaves_its_range(finished: Finished) -> None:
    assert {total for _, total in finished.progress} == {TOTAL}
    assert 0 <= min(done for done, _ in finished.progress) < max(done for done, _ in finished.progress) == TOTAL


def test_an_interrupted_run_goes_on_fetches_damaged_shards_again_and_gives_the_same_bytes(
    world: World, finished: Finished, tmp_path: Path
) -> None:
    out = tmp_path / "download"
    raw = out / "work" / "raw"

    def interrupt(done: int, total: int) -> None:
        if (raw / "00001_stats.json").exists():
            raise KeyboardInterrupt

    world.drip.requests = 0
    before = children()
    with pytest.raises(KeyboardInterrupt):  # in shard 2, where the dripping address holds a thread for 3 s
        download(world.captions_file, out, PARAMS, processes=1, threads=8, progress=interrupt)
    assert children() == before
    assert [f.name for f in out.iterdir()] == ["work"]
    assert not (raw / "00002_stats.json").exists()

    data = (raw / "00001.parquet").read_bytes()
    (raw / "00001.parquet").write_bytes(data[:-100])
    world.drip.requests = 0
    report = download(world.captions_file, out, PARAMS, processes=2, threads=3)
    assert (report["counts"]["resumed"], report["passes"]) == (12, 1)
    assert content(out) == content(finished.out)


def test_a_shard_that_stays_damaged_is_corrupt_and_one_that_never_came_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three shards img2dataset says it did two, and one of these is unreadable. It exits with 0."""

    def run(arguments: dict[str, Any], work: Path, deadline: float, tick: Callable[[], None]) -> bool:
        crawl.log_file(work).write_text("first line\nshard 2 failed with error No space left\n")
        for name, successes in (("00000", 0), ("00001", 2)):
            (work / "raw" / f"{name}_stats.json").write_text(json.dumps({"successes": successes}))
        columns = {"key": ["000000", "000001"], "status": ["failed_to_download"] * 2, "error_message": ["e"] * 2}
        pq.write_table(pa.table(columns | {"png": pa.nulls(2, pa.binary())}), work / "raw" / "00000.parquet")
        (work / "raw" / "00001.parquet").write_bytes(b"PAR1")
        return True

    monkeypatch.setattr(crawl, "run", run)
    rows = [(f"http://127.0.0.1:9/{i}.png", "x", False) for i in range(6)]
    file = write_captions(tmp_path / "captions", rows)
    params = dataclasses.replace(PARAMS, samples_per_shard=2, min_success=0.0)
    report = download(file, tmp_path / "out", params, processes=2, threads=8)
    entries = manifest.read(tmp_path / "out" / "manifest.parquet")
    assert [e.status for e in entries] == ["failed_to_download"] * 2 + ["corrupt"] * 2 + ["lost"] * 2
    assert [e.key for e in entries] == ["000000", "000001", "000010", "000011", "000020", "000021"]
    assert entries[2].error is not None
    assert entries[2].error.startswith("00001.parquet cannot be read")
    assert report["passes"] == 2
    with pytest.raises(DownloadFailed, match=r"lost 2(.|\n)*No space left"):
        download(file, tmp_path / "out", dataclasses.replace(params, min_success=0.1), processes=2, threads=8)
    assert not (tmp_path / "out" / "manifest.parquet").exists()


def test_the_deadline_ends_a_download_that_would_never_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that drips its headers gets past every time-out; what is whole by then is kept."""
    (tmp_path / "good.png").write_bytes(picture(0, (20, 30)))
    endless = DripServer(start=b"HTTP/1.1 200 OK\r\nX-Endless: ")
    endless.requests = 1
    rows = [("../good.png", "good", False), ("../good.png", "good", False), (endless.address, "bad", False)]
    file = write_captions(tmp_path / "captions", rows)
    params = dataclasses.replace(PARAMS, samples_per_shard=2, retries=0, passes=1, min_success=0.9)
    stats = tmp_path / "out" / "work" / "raw" / "00000_stats.json"
    clock = crawl.monotonic
    # The hour is over as soon as shard 0 has come and the endless answer has begun.
    monkeypatch.setattr(crawl, "monotonic", lambda: clock() + 3600 * (stats.exists() and endless.requests == 2))
    before = children()
    with pytest.raises(DownloadFailed) as caught:
        download(file, tmp_path / "out", dataclasses.replace(params, deadline_seconds=3600), processes=2, threads=2)
    endless.close()
    assert children() == before
    assert "66.7% of 3 addresses gave an image (success 2, lost 1)" in str(caught.value)
    assert "stopped after download.deadline_seconds, 3600 s" in str(caught.value)
    assert [e.status for e in shards.read_accepted(tmp_path / "out" / "work" / "accepted", 0)] == ["success"] * 2


def test_work_goes_on_only_if_nothing_that_shapes_the_shards_changed(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(b"1")
    file = write_captions(tmp_path, [("a.png", "x", False)])
    first = _fingerprint(file, [image], PARAMS)
    assert _fingerprint(file, [image], dataclasses.replace(PARAMS, passes=9, min_success=0.1)) == first
    assert _fingerprint(file, [image], dataclasses.replace(PARAMS, image_size=64)) != first
    image.write_bytes(b"22")
    second = _fingerprint(file, [image], PARAMS)
    write_captions(tmp_path, [("a.png", "y", False)])
    third = _fingerprint(file, [image], PARAMS)
    image.unlink()
    fourth = _fingerprint(file, [image], PARAMS)
    assert len({json.dumps(f) for f in (first, second, third, fourth)}) == 4


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [(None, MissingInput, "does not exist"), (b"url\tcaption\n", InvalidData, "is no captions file")],
)
def test_unusable_captions_files(tmp_path: Path, data: bytes | None, kind: type[Exception], message: str) -> None:
    file = tmp_path / "captions.parquet"
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(kind, match=message):
        download(file, tmp_path / "out", PARAMS, processes=1, threads=1)
    assert not (tmp_path / "out").exists()


def test_captions_files_without_rows_or_columns(tmp_path: Path) -> None:
    file = write_captions(tmp_path, [])
    with pytest.raises(InvalidData, match="has no rows"):
        download(file, tmp_path / "out", PARAMS, processes=1, threads=1)
    pq.write_table(pa.table({"url": ["x"]}), file)
    with pytest.raises(InvalidData, match="is no captions file"):
        download(file, tmp_path / "out", PARAMS, processes=1, threads=1)


def test_a_jpeg_quality_for_png_is_refused_before_any_work(tmp_path: Path) -> None:
    file = write_captions(tmp_path, [("http://x/y", "x", False)])
    with pytest.raises(InvalidParams, match="png has levels from 0 to 9, not 95"):
        download(file, tmp_path / "out", dataclasses.replace(PARAMS, encode_quality=95), processes=1, threads=1)

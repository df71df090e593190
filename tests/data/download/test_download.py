"""The download stage with the real img2dataset against real web servers on loopback."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from clipn.config import DownloadParams
from clipn.data import manifest, tars
from clipn.data.captions import prepare
from clipn.data.download import crawl, shards
from clipn.data.download.crawl import End
from clipn.data.download.download import Place, _fingerprint, download
from clipn.data.download.policy import FetchPolicy
from clipn.errors import DownloadFailed, InvalidData, InvalidParams, MissingInput
from tests.hostile import Answer, HostileServer, dripped, endless, in_turn, plain, sent
from tests.waiting import wait_until

PARAMS = DownloadParams(
    image_size=32,
    resize_mode="keep_ratio",
    encode_format="png",
    encode_quality=1,
    samples_per_shard=16,
    timeout_seconds=1,
    image_deadline_seconds=2,
    shard_deadline_seconds=20,
    deadline_seconds=60,
    max_image_bytes=10**6,
    retries=1,
    passes=2,
    private_addresses=True,
    opt_out_directives=("noai",),
    min_success=0.5,
)
TOTAL, MISSING, TEXT, CUT, LARGE = 40, 3, 5, 6, 11
FLAKY = frozenset({1, 12, 33})
OK = b"HTTP/1.1 200 OK\r\n"
REMOTE = {
    8: "good",
    9: "gone",
    13: "busy-once",
    14: "busy-long",
    15: "page",
    16: "cut-off",
    17: "drip-headers",
    18: "drip-body",
    19: "endless",
    20: "opted-out",
    21: "other-bot",
    22: "moved",
    23: "reset-long",
}
"""Row → the path that it names on the hostile server."""


def hostile_answers() -> dict[str, Answer]:
    image, busy = picture(99, (20, 30)), plain("503 Service Unavailable")
    good = plain("200 OK", body=image)
    answers = {
        "good": good,
        "busy-once": in_turn(busy, good),
        "busy-long": in_turn(busy, busy, busy, good),  # longer than the retries of one pass
        "page": plain("200 OK", body=prepare.NOT_AN_IMAGE),
        "cut-off": sent(OK, b"Content-Length: 5000\r\n\r\n" + image[:500]),
        "drip-headers": dripped(OK + b"X-Slow: "),
        "drip-body": dripped(OK + b"\r\n"),
        "endless": endless(OK + b"\r\n"),
        "opted-out": plain("200 OK", "X-Robots-Tag: noarchive, NoAI", body=image),
        "other-bot": plain("200 OK", "X-Robots-Tag: otherbot: noai", body=image),
        "moved": plain("301 Moved Permanently", "Location: /good"),
        "reset-long": in_turn(sent(b""), sent(b""), good),
    }
    return {f"/{name}": answer for name, answer in answers.items()}


def write_captions(folder: Path, rows: list[tuple[str, str, bool]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    table = pa.table(dict(zip(prepare.SCHEMA.names, columns, strict=True)), schema=prepare.SCHEMA)
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
    server: HostileServer


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """40 captions: local and remote, good and bad in every way that links are bad."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "images").mkdir()
    with HostileServer(hostile_answers()) as server:
        urls = [f"images/bild ü{i}.png" for i in range(TOTAL)]
        for i, url in enumerate(urls):
            data = picture(i, (96, 64) if i == LARGE else (20, 30))
            if i == TEXT:
                data = prepare.NOT_AN_IMAGE
            if i == CUT:
                data = data[: len(data) // 2]
            if i in REMOTE:
                urls[i] = f"{server.address}/{REMOTE[i]}"
            elif i != MISSING:
                (folder / url).write_bytes(data)
        rows = [(url, f'Nummer "{i}",\tein Käfer\n☃', i in FLAKY) for i, url in enumerate(urls)]
        yield World(write_captions(folder, rows), urls, server)


@dataclasses.dataclass
class Finished:
    out: Path
    report: dict[str, Any]
    failure: str
    """What the first attempt said, which asked for more than can be had."""
    left: list[str]
    """What that attempt left behind."""
    requests: dict[str, int]
    """What that attempt asked the hostile server for."""
    progress: list[tuple[int, int]]


@pytest.fixture(scope="module")
def finished(world: World, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    out = tmp_path_factory.mktemp("out") / "download"
    progress: list[tuple[int, int]] = []
    world.server.requests.clear()
    with pytest.raises(DownloadFailed) as caught:
        download(
            world.captions_file,
            out,
            dataclasses.replace(PARAMS, min_success=0.8),
            processes=2,
            threads=8,
            progress=lambda done, total: progress.append((done, total)),
        )
    left = [f.name for f in out.iterdir()]
    requests = dict(world.server.requests)
    params = dataclasses.replace(PARAMS, passes=1)
    report = download(world.captions_file, out, params, processes=2, threads=8)
    return Finished(out, report, str(caught.value), left, requests, progress)


FAILURES = {
    MISSING: ("failed_to_download", "http 404: Not Found"),
    TEXT: ("failed_to_resize", "not an image: it cannot be decoded"),
    CUT: ("failed_to_resize", "not an image: it cannot be decoded"),
    9: ("failed_to_download", "http 404: Not Found"),
    15: ("failed_to_resize", "not an image: it cannot be decoded"),
    16: ("failed_to_download", "connection lost: 500 of 5000 bytes arrived"),
    17: ("failed_to_download", "timeout: not complete after 2 s"),
    18: ("failed_to_download", "timeout: not complete after 2 s"),
    19: ("failed_to_download", "too large: more than 1000000 bytes"),
    20: ("opted_out", "opt-out: the X-Robots-Tag of the answer asks not to use the image"),
}


def test_manifest_has_a_row_for_every_caption(world: World, finished: Finished) -> None:
    entries = manifest.read(finished.out / "manifest.parquet")
    assert [entry.url for entry in entries] == world.urls
    assert [entry.key for entry in entries[15:18]] == ["0000015", "0000100", "0000101"]
    assert {i: (e.status, e.error) for i, e in enumerate(entries) if e.status != "success"} == FAILURES
    assert {e.shard for e in entries} == {"00000.tar", "00001.tar", "00002.tar", None}


def test_only_transient_failures_are_asked_for_again(finished: Finished) -> None:
    """Each pass may ask twice: two passes, one retry."""
    once = {"/good": 2, "/gone": 1, "/page": 1, "/endless": 1, "/opted-out": 1, "/other-bot": 1, "/moved": 1}
    again = {"/busy-once": 2, "/busy-long": 4, "/reset-long": 3, "/cut-off": 4, "/drip-headers": 2, "/drip-body": 2}
    assert finished.requests == once | again  # one of /good's is where /moved leads; a drip uses all of its time


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
                source = Image.open(io.BytesIO(picture(99 if i in REMOTE else i, (20, 30))))
                assert np.array_equal(np.asarray(image), np.asarray(source))


def test_webdataset_reads_the_shards(finished: Finished) -> None:
    urls = [str(tar) for tar in sorted((finished.out / "shards").iterdir())]
    keys = [sample["__key__"] for sample in webdataset.WebDataset(urls, shardshuffle=False)]
    entries = manifest.read(finished.out / "manifest.parquet")
    assert keys == [entry.key for entry in entries if entry.status == "success"]


def test_report(finished: Finished) -> None:
    report = finished.report
    assert (report["counts"]["in"], report["counts"]["out"], report["shards"]) == (TOTAL, TOTAL - 10, 3)
    assert report["counts"]["dropped"] == {"failed_to_download": 6, "failed_to_resize": 3, "opted_out": 1}
    assert report["errors"] == {
        "not an image": 3,
        "http 404": 2,
        "timeout": 2,
        "connection lost": 1,
        "too large": 1,
        "opt-out": 1,
    }
    entries = manifest.read(finished.out / "manifest.parquet")
    assert report["bytes"] == sum(entry.bytes or 0 for entry in entries) > 30 * 20 * 30
    assert set(report["seconds"]) == {"fetch", "verify"}
    assert set(report["worker_seconds"]) == {"network", "resize", "write", "shard"}
    assert report["worker_seconds"]["network"] > 2 * 2  # two drips of 2 s


def test_too_few_images_fail_without_a_manifest_and_say_why(finished: Finished) -> None:
    assert finished.left == ["work"]
    assert "75.0% of 40 addresses gave an image" in finished.failure
    assert "success 30, failed_to_download 6, failed_to_resize 3, opted_out 1" in finished.failure
    assert "download.min_success asks for 80.0%" in finished.failure
    assert "2 x timeout" in finished.failure


def test_a_lower_floor_goes_on_with_what_was_fetched(finished: Finished) -> None:
    """One more pass, for the links that may still come."""
    assert (finished.report["passes"], finished.report["counts"]["resumed"]) == (1, 30)
    assert sorted(f.name for f in finished.out.iterdir()) == ["manifest.parquet", "shards"]


def test_progress_never_leaves_its_range(finished: Finished) -> None:
    assert {total for _, total in finished.progress} == {TOTAL}
    assert 0 <= min(done for done, _ in finished.progress) < max(done for done, _ in finished.progress) == TOTAL


def test_an_interrupted_run_goes_on_fetches_damaged_shards_again_and_gives_the_same_bytes(
    world: World, finished: Finished, tmp_path: Path
) -> None:
    """Another order of arrival too: one process and three threads."""
    out = tmp_path / "download"
    raw, accepted = out / "work" / "raw", out / "work" / "accepted"

    def interrupt(done: int, total: int) -> None:
        if shards.is_accepted(accepted, 0) and (raw / "00001.parquet").exists():
            raise KeyboardInterrupt

    world.server.requests.clear()
    before = children()
    with pytest.raises(KeyboardInterrupt):  # in shard 1, where the drips hold two threads for 2 s
        download(world.captions_file, out, PARAMS, processes=1, threads=8, progress=interrupt)
    assert children() == before
    assert [f.name for f in out.iterdir()] == ["work"]
    assert not shards.is_accepted(accepted, 1)

    data = (accepted / "00000.tar").read_bytes()
    (accepted / "00000.tar").write_bytes(data[: len(data) // 2])
    world.server.requests.clear()
    report = download(world.captions_file, out, PARAMS, processes=1, threads=3)
    assert (report["counts"]["resumed"], report["passes"]) == (0, 2)
    assert content(out) == content(finished.out)


KILLED = """
import sys, dataclasses
from pathlib import Path
from clipn.data.download.download import download
from tests.data.download.test_download import PARAMS
folder = Path(sys.argv[1])
download(folder / "captions.parquet", folder / "out", PARAMS, processes=1, threads=8)
"""


def test_a_run_whose_group_is_killed_leaves_no_process_and_goes_on_where_it_was(tmp_path: Path) -> None:
    """Two shards are whole when SIGKILL comes; their links are not asked for again."""
    image, hold = plain("200 OK", body=picture(0, (20, 30))), threading.Event()

    def slow(_: int) -> list[bytes]:
        hold.wait(1.5)
        return list(image(0))

    answers = {f"/{i}": slow if i == 40 else image for i in range(47)}
    answers["/5"] = in_turn(plain("503 Service Unavailable"), plain("503 Service Unavailable"), image)
    with HostileServer(answers) as server:
        rows = [(f"{server.address}/{i}", str(i), False) for i in range(48)]  # the last is a 404
        write_captions(tmp_path, rows)
        accepted = tmp_path / "out" / "work" / "accepted"
        run = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], start_new_session=True)
        wait_until(lambda: shards.is_accepted(accepted, 1) and server.requests["/40"])
        started = psutil.Process(run.pid).children(recursive=True)
        os.killpg(run.pid, signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL
        wait_until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in started))
        assert not (tmp_path / "out" / "manifest.parquet").exists()
        hold.set()
        requests = dict(server.requests)
        report = download(tmp_path / "captions.parquet", tmp_path / "out", PARAMS, processes=1, threads=8)
        assert report["counts"] == {"in": 48, "out": 47, "resumed": 31, "dropped": {"failed_to_download": 1}}
        assert {path: n for path, n in server.requests.items() if path in [f"/{i}" for i in range(32)]} == {
            path: n + (path == "/5") for path, n in requests.items() if path in [f"/{i}" for i in range(32)]
        }
    entries = manifest.read(tmp_path / "out" / "manifest.parquet")
    assert [entry.url.rpartition("/")[2] for entry in entries] == [str(i) for i in range(48)]
    keys = [key for tar in sorted((tmp_path / "out" / "shards").iterdir()) for key, _ in tars.read(tar)]
    assert keys == [entry.key for entry in entries[:47]]


def test_a_run_that_is_killed_while_it_publishes_publishes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(picture(0, (20, 30)))
    file = write_captions(tmp_path / "captions", [("../a.png", str(i), False) for i in range(3)])
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "join", lambda *_: sys.exit(9))
        with pytest.raises(SystemExit):
            download(file, tmp_path / "out", PARAMS, processes=1, threads=8)
    shutil.rmtree(tmp_path / "out" / "shards")  # as DVC does before a stage runs
    (tmp_path / "out" / ".shards.partial").mkdir()
    report = download(file, tmp_path / "out", PARAMS, processes=1, threads=8)
    assert (report["passes"], report["counts"]["resumed"], report["counts"]["out"]) == (0, 3, 3)
    assert len(list(tars.read(tmp_path / "out" / "shards" / "00000.tar"))) == 3


def test_private_addresses_are_refused_but_local_files_are_not(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(0, (20, 30)))
    with HostileServer({"/": plain("200 OK", body=picture(1, (20, 30)))}) as server:
        rows = [("../a.png", "mine", False), (f"http://localhost:{server.port}/", "the router's", False)]
        file = write_captions(tmp_path / "captions", rows)
        params = dataclasses.replace(PARAMS, private_addresses=False, passes=1)
        report = download(file, tmp_path / "out", params, processes=1, threads=8)
        assert not server.requests
    assert report["counts"]["out"] == 1
    assert report["errors"] == {"private address": 1}


def test_a_shard_that_stays_damaged_is_corrupt_and_one_that_never_came_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three shards img2dataset says it did two, and one of these is unreadable. It exits with 0."""

    def run(arguments: dict[str, Any], policy: FetchPolicy, work: Path, **_: Any) -> End:
        crawl.log_file(work).write_text("first line\nshard 2 failed with error No space left\n")
        for name, successes in (("00000", 0), ("00001", 2)):
            (work / "raw" / f"{name}_stats.json").write_text(json.dumps({"successes": successes}))
        columns = {"key": ["000000", "000001"], "status": ["failed_to_download"] * 2, "error_message": ["e"] * 2}
        pq.write_table(pa.table(columns | {"png": pa.nulls(2, pa.binary())}), work / "raw" / "00000.parquet")
        (work / "raw" / "00001.parquet").write_bytes(b"PAR1")
        return End.BY_ITSELF

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
    assert report["errors"] == {"other": 2, "corrupt": 2, "lost": 2}
    with pytest.raises(DownloadFailed, match=r"lost 2(.|\n)*No space left"):
        download(file, tmp_path / "out", dataclasses.replace(params, min_success=0.1), processes=2, threads=8)
    assert not (tmp_path / "out" / "manifest.parquet").exists()


def test_a_run_that_was_stopped_is_not_finished_however_much_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "good.png").write_bytes(picture(0, (20, 30)))
    with HostileServer({"/": dripped(OK + b"X-Endless: ")}) as server:
        rows = [("../good.png", "good", False), ("../good.png", "good", False), (f"{server.address}/", "bad", False)]
        file = write_captions(tmp_path / "captions", rows)
        params = dataclasses.replace(
            PARAMS, samples_per_shard=2, min_success=0.1, image_deadline_seconds=60, shard_deadline_seconds=60
        )
        stats = tmp_path / "out" / "work" / "raw" / "00000_stats.json"
        clock = crawl.monotonic
        # The minute is over as soon as shard 0 has come and the endless answer has begun.
        monkeypatch.setattr(crawl, "monotonic", lambda: clock() + 3600 * (stats.exists() and server.requests["/"] > 0))
        before = children()
        with pytest.raises(DownloadFailed) as caught:
            download(file, tmp_path / "out", params, processes=2, threads=2)
        assert children() == before
    assert "66.7% of 3 addresses gave an image (success 2, lost 1)" in str(caught.value)
    assert "stopped after download.deadline_seconds, 60 s. Run again to go on" in str(caught.value)
    assert "min_success" not in str(caught.value)
    assert [f.name for f in (tmp_path / "out").iterdir()] == ["work"]
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


def test_deadlines_that_contradict_each_other_are_refused_before_any_work(tmp_path: Path) -> None:
    file = write_captions(tmp_path, [("http://x/y", "x", False)])
    params = dataclasses.replace(PARAMS, image_deadline_seconds=30)
    with pytest.raises(InvalidParams, match="image_deadline_seconds is 30 s, longer than shard_deadline_seconds, 20 s"):
        download(file, tmp_path / "out", params, processes=1, threads=1)


def test_local_files_can_be_served_at_an_address_of_this_machine_only(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(1, (20, 30)))
    captions_file = write_captions(tmp_path, [("a.png", "x", False)])
    with pytest.raises(InvalidParams, match=r"^local files cannot be served at 192\.0\.2\.254: "):
        download(captions_file, tmp_path / "out", PARAMS, processes=1, threads=1, place=Place(serve_host="192.0.2.254"))
    # The second address of loopback stands for one that other machines reach.
    params = dataclasses.replace(PARAMS, private_addresses=False)
    report = download(
        captions_file, tmp_path / "out", params, processes=1, threads=1, place=Place(serve_host="127.0.0.2")
    )
    assert report["counts"]["out"] == 1

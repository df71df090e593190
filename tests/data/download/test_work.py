from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipn import config
from clipn.data import tars
from clipn.data.download import shards
from clipn.data.download.shards import Layout, Row
from clipn.data.download.work import DownloadWork

PARAMS = config.DownloadParams(
    image_size=32,
    resize_mode="no",
    encode_format="png",
    encode_quality=1,
    samples_per_shard=2,
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
ROWS = [Row(f"http://x/{i}", "x") for i in range(5)]
FINGERPRINT = {"captions": "1"}


GONE, BUSY = "http 404: Not Found", "http 503: Service Unavailable"


def png(i: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), (i, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def crawl(raw: Path, shard: int, errors: list[str | None], layout: Layout) -> None:
    """Write a shard as img2dataset does; an error of None is an image."""
    raw.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "key": layout.key(i),
            "status": "failed_to_download" if error else "success",
            "error_message": error,
            "png": None if error else png(i),
        }
        for i, error in zip(layout.rows_of(shard), errors, strict=True)
    ]
    table = pa.Table.from_pylist(rows).set_column(3, "png", pa.array([row["png"] for row in rows], pa.binary()))
    pq.write_table(table, raw / f"{shards.name(shard)}.parquet")
    (raw / f"{shards.name(shard)}_stats.json").write_text(json.dumps({"successes": errors.count(None)}))


def opened(folder: Path, params: config.DownloadParams = PARAMS) -> DownloadWork:
    """The work as a new process finds it."""
    work = DownloadWork(folder, Layout(5, 2), ROWS, params)
    work.open(FINGERPRINT)
    return work


def statuses(work: DownloadWork) -> list[str]:
    return [status for part in work.tables() for status in part["status"].to_pylist()]


@pytest.fixture
def work(tmp_path: Path) -> DownloadWork:
    """Three accepted shards: two images; one image and one 503; one 404."""
    work = opened(tmp_path / "work")
    for shard, errors in enumerate([[None, None], [None, BUSY], [GONE]]):
        crawl(work.raw, shard, errors, work.layout)
    work.verify()
    assert work.missing() == []
    return work


def test_work_of_equal_fingerprint_goes_on(work: DownloadWork) -> None:
    again = opened(work.folder, dataclasses.replace(PARAMS, min_success=0.0))
    assert again.missing() == []
    assert statuses(again) == ["success", "success", "success", "failed_to_download", "failed_to_download"]


def test_shards_that_lasting_failures_keep_below_the_floor_are_fetched_again(work: DownloadWork) -> None:
    """Shard 1 is at a half too, but its 503 may pass."""
    again = opened(work.folder, dataclasses.replace(PARAMS, min_success=1.0))
    assert again.missing() == [2]
    assert shards.done(again.raw) == {0, 1}


@pytest.mark.parametrize("content", ['{"captions": "2"}', "", "{"])
def test_work_of_another_or_no_readable_fingerprint_starts_anew(work: DownloadWork, content: str) -> None:
    (work.folder / "fingerprint.json").write_text(content)
    again = opened(work.folder)
    assert again.missing() == [0, 1, 2]
    assert (list(again.raw.iterdir()), list(again.accepted.iterdir())) == ([], [])


def test_missing_shards_have_every_row_once_in_order(work: DownloadWork) -> None:
    shards.discard(work.raw, work.accepted, 1)
    assert [url for part in work.tables() for url in part["url"].to_pylist()] == [row.url for row in ROWS]
    assert statuses(work) == ["success", "success", "lost", "lost", "failed_to_download"]
    assert [tar.name for tar in work.tars()] == ["00000.tar", "00002.tar"]


def test_tally(work: DownloadWork) -> None:
    shards.discard(work.raw, work.accepted, 0)
    tally = work.tally()
    assert tally.statuses == {"success": 1, "failed_to_download": 2, "lost": 2}
    assert tally.reasons == {"http 503": 1, "http 404": 1, "lost": 2}
    assert (tally.share, tally.bytes) == (0.2, len(png(2)))


def test_verify_discards_leftovers_of_unfinished_shards(work: DownloadWork) -> None:
    shards.discard(work.raw, work.accepted, 0)
    (work.raw / "00000.parquet").write_bytes(b"PAR1 half")
    work.verify()
    assert work.missing() == [0]
    assert not (work.raw / "00000.parquet").exists()
    assert work.damage == {}


@pytest.mark.parametrize("statistics", ["", "{", '{"successes": 3}'])
def test_a_shard_with_bad_statistics_is_fetched_again(work: DownloadWork, statistics: str) -> None:
    shards.discard(work.raw, work.accepted, 0)
    crawl(work.raw, 0, [None, None], work.layout)
    (work.raw / "00000_stats.json").write_text(statistics)
    again = opened(work.folder)
    assert 0 in again.missing()
    assert not shards.is_done(again.raw, 0)


def test_whole_shards_are_accepted_while_others_are_half_written(tmp_path: Path) -> None:
    work = opened(tmp_path / "work")
    crawl(work.raw, 0, [None, GONE], work.layout)
    crawl(work.raw, 1, [None, None], work.layout)
    (work.raw / "00001_stats.json").write_text("")
    assert (work.accept_done(), work.missing()) == (2, [1, 2])
    assert shards.is_done(work.raw, 1)  # img2dataset may still be writing it
    (work.raw / "00001_stats.json").write_text(json.dumps({"successes": 2}))
    work.verify()
    assert work.missing() == [2]


def test_an_accepted_tar_that_was_damaged_is_fetched_again(work: DownloadWork) -> None:
    tar = work.accepted / "00000.tar"
    tar.write_bytes(tar.read_bytes()[:512])
    (work.accepted / ".00001.77.partial.tar").write_bytes(b"left by a kill")
    again = opened(work.folder, dataclasses.replace(PARAMS, min_success=0.0))
    assert again.missing() == [0]
    assert "00000.tar" in again.damage[0]
    assert sorted(file.name for file in again.accepted.iterdir())[0] == "00001.parquet"


def test_only_links_that_failed_for_a_transient_reason_are_tried_again(work: DownloadWork) -> None:
    assert work.transient() == [3]
    layout = work.begin_retry([3], processes=2)
    assert layout == Layout(1, 2)
    crawl(work.retry / "raw", 0, [None], layout)
    work.end_retry()
    assert statuses(work) == ["success"] * 4 + ["failed_to_download"]
    assert work.transient() == []
    assert not work.retry.exists()
    assert [key for key, _ in tars.read(work.accepted / "00001.tar")] == ["000010", "000011"]


def test_links_that_came_before_a_kill_are_kept(work: DownloadWork) -> None:
    layout = work.begin_retry([3], processes=1)
    crawl(work.retry / "raw", 0, [None], layout)
    again = opened(work.folder, dataclasses.replace(PARAMS, min_success=0.0))
    assert statuses(again)[3] == "success"
    assert again.transient() == []


@pytest.mark.parametrize("damaged", ["raw/00000.parquet", "links.json"])
def test_links_of_an_unfinished_retry_stay_as_they_were(work: DownloadWork, damaged: str) -> None:
    work.begin_retry([3], processes=1)
    (work.retry / damaged).write_bytes(b"PAR1 half")
    again = opened(work.folder, dataclasses.replace(PARAMS, min_success=0.0))
    assert again.transient() == [3]


def test_a_shard_that_is_damaged_before_its_links_come_is_fetched_again(work: DownloadWork) -> None:
    layout = work.begin_retry([3], processes=1)
    crawl(work.retry / "raw", 0, [None], layout)
    (work.accepted / "00001.tar").write_bytes(b"")
    work.end_retry()
    assert work.missing() == [1]

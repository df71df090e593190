from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from clipn import config, manifest, shards
from clipn.download_work import DownloadWork, success_share
from clipn.manifest import Entry
from clipn.shards import Layout, Row

PARAMS = config.DownloadParams(
    image_size=32,
    resize_mode="no",
    encode_format="png",
    encode_quality=1,
    samples_per_shard=2,
    timeout_seconds=1,
    retries=1,
    deadline_seconds=60,
    passes=2,
    min_success=0.5,
)
ROWS = [Row(f"http://x/{i}", "x") for i in range(5)]
FINGERPRINT = {"captions": "1"}


@pytest.fixture
def work(tmp_path: Path) -> DownloadWork:
    """Three shards, accepted with 2 of 2, 1 of 2 and 0 of 1 images."""
    work = DownloadWork(tmp_path / "work", Layout(5, 2), ROWS, PARAMS)
    work.open(FINGERPRINT)
    for shard, good in enumerate((2, 1, 0)):
        entries = [
            Entry(work.layout.key(i), ROWS[i].url, "success" if n < good else "failed_to_download")
            for n, i in enumerate(work.layout.rows_of(shard))
        ]
        manifest.write(work.accepted / f"{shards.name(shard)}.parquet", entries)
        (work.accepted / f"{shards.name(shard)}.tar").touch()
        (work.raw / f"{shards.name(shard)}_stats.json").touch()
    return work


def test_work_of_equal_fingerprint_goes_on_without_the_shards_below_the_floor(work: DownloadWork) -> None:
    assert work.missing() == []
    work.open(FINGERPRINT)
    assert work.missing() == [2]
    assert [shards.is_done(work.raw, shard) for shard in range(3)] == [True, True, False]
    assert work.done() == 4


def test_a_lower_floor_keeps_more(work: DownloadWork) -> None:
    dataclasses.replace(work, params=dataclasses.replace(PARAMS, min_success=0.0)).open(FINGERPRINT)
    assert work.missing() == []


def test_work_of_another_fingerprint_starts_anew(work: DownloadWork) -> None:
    work.open({"captions": "2"})
    assert work.missing() == [0, 1, 2]
    assert (list(work.raw.iterdir()), list(work.accepted.iterdir())) == ([], [])


def test_entries_have_every_row_once_in_order(work: DownloadWork) -> None:
    shards.discard(work.raw, work.accepted, 1)
    entries = work.entries()
    assert [entry.url for entry in entries] == [row.url for row in ROWS]
    assert [entry.status for entry in entries] == ["success", "success", "lost", "lost", "failed_to_download"]


def test_verify_discards_leftovers_of_unfinished_shards(work: DownloadWork) -> None:
    shards.discard(work.raw, work.accepted, 0)
    (work.raw / "00000.parquet").write_bytes(b"PAR1 half")
    work.verify()
    assert work.missing() == [0]
    assert not (work.raw / "00000.parquet").exists()
    assert work.damage == {}


def test_success_share() -> None:
    assert success_share([Entry("1", "u"), Entry("2", "u", "lost"), Entry("3", "u"), Entry("4", "u")]) == 0.75

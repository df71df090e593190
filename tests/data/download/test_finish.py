from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from clipn.data import manifest
from clipn.data.download import crawl, shards
from clipn.data.download.finish import counts, publish, require_success
from clipn.data.download.work import DownloadWork
from clipn.errors import DownloadFailed
from tests.data.download.test_work import BUSY, GONE, PARAMS, opened
from tests.data.download.test_work import crawl as write_raw


@pytest.fixture
def work(tmp_path: Path) -> DownloadWork:
    """Two images, a 503 and a 404; the third shard is missing."""
    work = opened(tmp_path / "work")
    write_raw(work.raw, 0, [None, BUSY], work.layout)
    write_raw(work.raw, 1, [None, GONE], work.layout)
    work.verify()
    (work.accepted / ".00002.99.partial.tar").write_bytes(b"half")
    return work


@pytest.mark.parametrize("links", [True, False])
def test_shards_and_manifest_take_their_places(
    work: DownloadWork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError("not supported")

    if not links:
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    whole = (work.accepted / "00001.tar").read_bytes()
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "old.tar").touch()
    publish(work, tmp_path)
    assert sorted(file.name for file in (tmp_path / "shards").iterdir()) == ["00000.tar", "00001.tar"]
    assert (tmp_path / "shards" / "00001.tar").read_bytes() == whole
    assert [entry.status for entry in manifest.read(tmp_path / "manifest.parquet")][-1] == "lost"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["manifest.parquet", "shards"]


def test_counts_add_up(work: DownloadWork) -> None:
    assert counts(work.tally(), 1) == {
        "in": 5,
        "out": 2,
        "resumed": 1,
        "dropped": {"failed_to_download": 2, "lost": 1},
    }


def test_a_missed_floor_names_shares_reasons_and_the_end_of_the_log(work: DownloadWork) -> None:
    crawl.log_file(work.folder).write_text("No space left on device\n")
    require_success(work.tally(), work, dataclasses.replace(PARAMS, min_success=0.4))
    with pytest.raises(DownloadFailed) as caught:
        require_success(work.tally(), work, dataclasses.replace(PARAMS, min_success=0.41))
    message = str(caught.value)
    assert "40.0% of 5 addresses gave an image (success 2, failed_to_download 2, lost 1)" in message
    assert "download.min_success asks for 41.0%" in message
    for line in ("1 x http 503", "1 x http 404", "1 x lost", "No space left on device"):
        assert line in message


def test_no_share_is_enough_for_a_run_that_was_stopped(work: DownloadWork) -> None:
    params = dataclasses.replace(PARAMS, min_success=0.0)
    with pytest.raises(DownloadFailed, match=r"stopped after download\.deadline_seconds, 60 s\. Run again to go on"):
        require_success(work.tally(), work, params, stopped=True)
    assert shards.is_accepted(work.accepted, 0)

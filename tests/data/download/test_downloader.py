from __future__ import annotations

import json
import os
import pickle
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from clipn.data.download.policy import FetchPolicy, PolicyOpener

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or importing img2dataset asks the network for news

from img2dataset.downloader import Downloader

from clipn.data.download.downloader import BoundedDownloader

POLICY = FetchPolicy(image_seconds=1, max_bytes=10)


class Writer:
    def __init__(self, shard: int) -> None:
        self.shard = shard

    def write(self, sample: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def downloader(folder: Path) -> BoundedDownloader:
    arguments: dict[str, Any] = dict.fromkeys(
        (
            *("thread_count", "save_caption", "extract_exif", "output_folder", "column_list", "timeout"),
            *("number_sample_per_shard", "oom_shard_count", "compute_hash", "verify_hash_type", "encode_format"),
            *("retries", "user_agent_token", "disallowed_header_directives"),
        )
    )
    return BoundedDownloader(POLICY, 60, str(folder), sample_writer_class=Writer, resizer=len, **arguments)


@pytest.fixture(autouse=True)
def opener() -> Any:
    yield
    urllib.request.install_opener(None)  # type: ignore[arg-type]


def test_it_travels_to_another_process_with_its_policy(tmp_path: Path) -> None:
    copy = pickle.loads(pickle.dumps(downloader(tmp_path)))
    assert (copy.policy, copy.shard_seconds, copy.resizer) == (POLICY, 60, len)


def test_each_shard_is_fetched_with_an_opener_of_its_own_and_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openers: list[Any] = []

    def download_shard(self: Any, row: tuple[int, str]) -> None:
        openers.append(urllib.request._opener)  # type: ignore[attr-defined]
        assert self.resizer("four") == 4
        writer = self.sample_writer_class(row[0])
        writer.write("x")
        writer.close()

    monkeypatch.setattr(Downloader, "download_shard", download_shard)
    bounded = downloader(tmp_path)
    for shard in (0, 12):
        bounded.download_shard((shard, "unused"))
    assert all(isinstance(opener, PolicyOpener) and opener.policy == POLICY for opener in openers)
    assert openers[0] is not openers[1]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["00000.json", "00012.json"]
    assert json.loads((tmp_path / "00012.json").read_text()).keys() == {"network", "resize", "write", "shard"}
    assert (bounded.resizer, bounded.sample_writer_class) == (len, Writer)


def test_a_shard_that_fails_leaves_the_downloader_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Any, row: tuple[int, str]) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Downloader, "download_shard", fail)
    bounded = downloader(tmp_path)
    with pytest.raises(OSError, match="disk full"):
        bounded.download_shard((0, "unused"))
    assert (bounded.resizer, bounded.sample_writer_class) == (len, Writer)
    assert list(tmp_path.iterdir()) == []

"""img2dataset's downloader of one shard, with the fetch policy and with the time of each phase.

img2dataset pickles its downloader and calls it in processes that it spawns, so the policy travels with it.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from img2dataset.downloader import Downloader

from clipn.data.download.policy import FetchPolicy, PolicyOpener
from clipn.utils.progress import Phases


class BoundedDownloader(Downloader):
    """Fetches each shard with an opener of its own.

    Args:
        policy: for each address.
        shard_seconds: for all addresses of a shard; those that are left then time out at once.
        timings: folder for `SHARD.json`, the seconds of each phase: `network` (added up over threads),
            `resize` (decoding, resizing and encoding), `write` and `shard` (from start to end).
        arguments: img2dataset's own.
    """

    resizer: Any
    sample_writer_class: Any

    def __init__(self, policy: FetchPolicy, shard_seconds: float, timings: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.policy = policy
        self.shard_seconds = shard_seconds
        self.timings = timings

    def download_shard(self, row: tuple[int, str]) -> None:
        opener = PolicyOpener(self.policy, self.shard_seconds)
        urllib.request.install_opener(opener)
        phases = Phases()
        resizer, writer = self.resizer, self.sample_writer_class
        self.resizer = _timed(phases, "resize", resizer)
        self.sample_writer_class = lambda *arguments: _TimedWriter(phases, writer(*arguments))
        start = time.perf_counter()
        try:
            super().download_shard(row)
        finally:
            self.resizer, self.sample_writer_class = resizer, writer
        seconds = {
            **phases.seconds(),
            "network": round(opener.network_seconds, 3),
            "shard": round(time.perf_counter() - start, 3),
        }
        (Path(self.timings) / f"{row[0]:05d}.json").write_text(json.dumps(seconds), encoding="utf-8")


class _TimedWriter:
    def __init__(self, phases: Phases, writer: Any) -> None:
        self.write = _timed(phases, "write", writer.write)
        self.close = _timed(phases, "write", writer.close)


def _timed(phases: Phases, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        with phases(name):
            return function(*arguments)

    return call

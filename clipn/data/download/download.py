"""The download stage: img2dataset fetches what the captions name, and every shard is checked.

The folder `out` gets `shards/*.tar` (webdataset) and, last, `manifest.parquet`. Until then all work is in
`out/work`, where an interrupted run goes on.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clipn.config import DownloadParams
from clipn.data.captions import webdataset
from clipn.data.download import crawl, shards
from clipn.data.download.crawl import End
from clipn.data.download.finish import counts, publish, require_success
from clipn.data.download.from_tars import pack
from clipn.data.download.policy import FetchPolicy
from clipn.data.download.rows import CaptionRows
from clipn.data.download.server import LOOPBACK, LoopbackServer
from clipn.data.download.shards import Layout
from clipn.data.download.work import DownloadWork
from clipn.data.manifest import SUCCESS
from clipn.errors import InvalidParams
from clipn.utils.files import read_json, sha256
from clipn.utils.progress import Phases, Progress, silent


@dataclass(frozen=True)
class Place:
    """Where img2dataset's workers are.

    Attributes:
        distributor: img2dataset's name for it.
        module: that runs in img2dataset's process; see `clipn.data.download.crawl.run`.
        serve_host: address of this machine at which the workers fetch local files.
    """

    distributor: str = "multiprocessing"
    module: str = "clipn.data.download.crawl"
    serve_host: str = LOOPBACK


THIS_MACHINE = Place()


def check(params: DownloadParams) -> None:
    """Check what can be checked before any long work.

    Raises:
        InvalidParams: `encode_quality` does not fit `encode_format`, or a deadline is longer than the one around it.
    """
    if params.encode_format == "png" and params.encode_quality > 9:
        raise InvalidParams(f"download.encode_quality: png has levels from 0 to 9, not {params.encode_quality}")
    names = ("timeout_seconds", "image_deadline_seconds", "shard_deadline_seconds", "deadline_seconds")
    for inner, outer in pairwise(names):
        if getattr(params, inner) > getattr(params, outer):
            raise InvalidParams(
                f"download.{inner} is {getattr(params, inner)} s, longer than {outer}, {getattr(params, outer)} s"
            )


def download(
    captions_file: Path,
    out: Path,
    params: DownloadParams,
    *,
    processes: int,
    threads: int,
    progress: Progress = silent,
    place: Place = THIS_MACHINE,
) -> dict[str, Any]:
    """Fetch the images of `captions_file` and write shards and manifest.

    Rows that name local files are served over loopback, so that they take the same way as all others;
    images that are in tars already are taken from there (`clipn.data.download.from_tars`).
    The same captions and images give the same bytes, whatever the order of arrival. The first pass
    fetches everything; each later one fetches damaged shards again, and of good ones the links that
    failed for a transient reason.

    Args:
        captions_file: as `clipn.data.captions.prepare.prepare_captions` writes it.
        out: the folder for `shards/`, `manifest.parquet` and, until both are complete, `work/`.
        params: how to fetch, and what is good enough.
        processes: of img2dataset, at most; for tars, threads that decode.
        threads: per process; each waits for one address.
        progress: called with rows done and rows in all.
        place: where img2dataset's workers are; elsewhere than here, `processes` only shapes retries.

    Returns:
        the stage's report: `counts` of rows in, images out, of these kept from an interrupted run, and rows
        dropped by status; `errors`, rows without an image by reason; passes, shards, bytes, images per
        second; `seconds` per phase, where much of `verify` is within `fetch`, beside the downloads;
        `worker_seconds`, added up over img2dataset's processes (`network` also over their threads).

    Raises:
        MissingInput: there is no captions file.
        InvalidData: it is no captions file, or empty.
        InvalidParams: as `check`, or `place.serve_host` is no address of this machine.
        DownloadFailed: a smaller share than `params.min_success` arrived, or a pass was stopped by its
            deadline. The next run keeps what arrived and goes on.
    """
    check(params)
    if webdataset.is_packed(captions_file):
        return pack(captions_file, out, params, workers=processes, progress=progress)
    rows = CaptionRows(captions_file)
    (out / "manifest.parquet").unlink(missing_ok=True)
    work = DownloadWork(out / "work", Layout(len(rows), params.samples_per_shard), rows, params)
    work.open(_fingerprint(captions_file, rows.files, params), progress)
    resumed = work.tally().statuses[SUCCESS]
    phases = Phases()
    passes, end = 0, End.BY_ITSELF
    with LoopbackServer(rows.files, rows.flaky, place.serve_host) as server:
        crawler = _Crawler(rows, server, params, processes, threads, progress, phases, place)
        while passes < params.passes and end != End.DEADLINE:
            missing, links = work.missing(), work.transient()
            if not missing and not links:
                break
            passes += 1
            with phases("fetch"):
                if missing:
                    end = crawler.fetch_shards(work, len(missing))
                if links and end != End.DEADLINE:
                    end = crawler.fetch_links(work, links)
            with phases("verify"):
                work.verify()
                work.end_retry()
    tally = work.tally()
    require_success(tally, work, params, stopped=end == End.DEADLINE)
    seconds = phases.seconds()
    worker_seconds = _sum(work.folder / "timings")
    publish(work, out)
    progress(len(rows), len(rows))
    return {
        "counts": counts(tally, resumed),
        "errors": dict(tally.reasons.most_common()),
        "passes": passes,
        "shards": len(work.layout.shards),
        "bytes": tally.bytes,
        "seconds": seconds,
        "worker_seconds": worker_seconds,
        "images_per_second": round((tally.statuses[SUCCESS] - resumed) / seconds["fetch"], 1) if passes else None,
    }


@dataclass(frozen=True)
class _Crawler:
    """Runs img2dataset on all rows or on some links."""

    rows: CaptionRows
    server: LoopbackServer
    params: DownloadParams
    processes: int
    threads: int
    progress: Progress
    phases: Phases
    place: Place

    def fetch_shards(self, work: DownloadWork, missing: int) -> End:
        """Fetch all shards that img2dataset does not think done, and accept those that are whole meanwhile."""
        table = pa.table({"url": self.rows.addresses(self.server), "caption": self.rows.captions})

        def tick() -> int:
            with self.phases("verify"):
                done = work.accept_done()
            rows = max(done * self.params.samples_per_shard, sum(self.server.requests.values()))
            self.progress(min(rows, len(self.rows)), len(self.rows))
            return done

        processes = min(self.processes, missing)
        return self._run(table, work.folder, self.params.samples_per_shard, processes, tick)

    def fetch_links(self, work: DownloadWork, links: Sequence[int]) -> End:
        """Fetch only these rows."""
        layout = work.begin_retry(links, self.processes)
        chosen = pa.array(links, pa.int64())
        addresses = self.rows.addresses(self.server).take(chosen)
        table = pa.table({"url": addresses, "caption": self.rows.captions.take(chosen)})

        def tick() -> int:
            done = len(shards.done(work.retry / "raw"))
            rows = len(self.rows) - len(links) + done * layout.samples_per_shard
            self.progress(min(rows, len(self.rows)), len(self.rows))
            return done

        return self._run(table, work.retry, layout.samples_per_shard, min(self.processes, len(layout.shards)), tick)

    def _run(
        self, table: pa.Table, folder: Path, samples_per_shard: int, processes: int, tick: Callable[[], int]
    ) -> End:
        pq.write_table(table, folder / "input.parquet")
        params = self.params
        arguments = {
            "url_list": str((folder / "input.parquet").absolute()),
            "input_format": "parquet",
            "url_col": "url",
            "caption_col": "caption",
            "output_folder": str((folder / "raw").absolute()),
            "output_format": "parquet",
            "incremental_mode": "incremental",
            "distributor": self.place.distributor,
            "processes_count": processes,
            "thread_count": self.threads,
            "number_sample_per_shard": samples_per_shard,
            "image_size": params.image_size,
            "resize_mode": params.resize_mode,
            # Enlarging adds nothing but bytes; the modes that are left promise a square.
            "resize_only_if_bigger": params.resize_mode in ("keep_ratio", "keep_ratio_largest"),
            "encode_format": params.encode_format,
            "encode_quality": params.encode_quality,
            "timeout": params.timeout_seconds,
            "retries": 0,  # it would also retry what cannot pass; the policy knows better
            "extract_exif": False,
            "disallowed_header_directives": list(params.opt_out_directives),
        }
        policy = FetchPolicy(
            image_seconds=params.image_deadline_seconds,
            max_bytes=params.max_image_bytes,
            retries=params.retries,
            private_addresses=params.private_addresses,
            own_server=self.server.host_and_port,
        )
        return crawl.run(
            arguments,
            policy,
            folder,
            shard_seconds=params.shard_deadline_seconds,
            deadline_seconds=params.deadline_seconds,
            tick=tick,
            module=self.place.module,
        )


def _fingerprint(captions_file: Path, files: Sequence[Path], params: DownloadParams) -> dict[str, Any]:
    """What has to be the same for an interrupted run to go on: whatever shapes the shards."""
    local = hashlib.sha256()
    for file in files:
        if file.is_file():
            stat = file.stat()
            local.update(f"{stat.st_size} {stat.st_mtime_ns}".encode())
        local.update(b"\n")
    names = ("image_size", "resize_mode", "encode_format", "encode_quality", "samples_per_shard")
    return {
        "captions": sha256(captions_file),
        "local_files": local.hexdigest(),
        "params": {name: getattr(params, name) for name in names},
        "img2dataset": importlib.metadata.version("img2dataset"),
    }


def _sum(timings: Path) -> dict[str, float]:
    total: Counter[str] = Counter()
    for file in timings.glob("*.json"):
        total.update(read_json(file))
    return {phase: round(value, 3) for phase, value in sorted(total.items())}

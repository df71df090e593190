"""The download stage: img2dataset fetches what the captions name, and every shard is checked.

The folder `out` gets `shards/*.tar` (webdataset) and, last, `manifest.parquet`. Until then all work is in
`out/work`, where an interrupted run goes on.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clipn import crawl, manifest
from clipn.config import DownloadParams
from clipn.download_work import DownloadWork, success_share
from clipn.errors import DownloadFailed, InvalidData, InvalidParams, MissingInput
from clipn.io import atomic_folder, sha256
from clipn.manifest import SUCCESS, Entry
from clipn.progress import Progress, silent
from clipn.shards import Layout, Row
from clipn.tables import is_web_address
from clipn.webserver import LoopbackServer

_ERRORS_SHOWN = 20
_ERRORS_IN_MESSAGE = 5
_LOG_LINES = 15


def download(
    captions_file: Path,
    out: Path,
    params: DownloadParams,
    *,
    processes: int,
    threads: int,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Fetch the images of `captions_file` and write shards and manifest.

    Rows that name local files are served over loopback, so that they take the same way as all others.
    The same captions and images give the same bytes, whatever the order of arrival.

    Args:
        captions_file: as `clipn.captions.prepare` writes it.
        out: the folder for `shards/`, `manifest.parquet` and, until both are complete, `work/`.
        params: how to fetch, and what is good enough.
        processes: of img2dataset, at most.
        threads: per process; each waits for one address.
        progress: called with rows done and rows in all.

    Returns:
        the stage's report: `counts` of rows in, images out, of these kept from an interrupted run, and rows
        dropped by status; the most frequent errors, passes, shards, bytes, seconds per phase, images per second.

    Raises:
        InvalidParams: `encode_quality` does not fit `encode_format`.
        MissingInput: there is no captions file.
        InvalidData: it is no captions file, or empty.
        DownloadFailed: a smaller share than `params.min_success` arrived. The next run keeps what arrived,
            except for shards below that share, which it fetches again.
    """
    if params.encode_format == "png" and params.encode_quality > 9:
        raise InvalidParams(f"download.encode_quality: png has levels from 0 to 9, not {params.encode_quality}")
    rows, flaky = _read_captions(captions_file)
    local = [i for i, row in enumerate(rows) if not is_web_address(row.url)]
    files = [captions_file.parent / rows[i].url for i in local]
    (out / "manifest.parquet").unlink(missing_ok=True)
    seconds = {"fetch": 0.0, "verify": 0.0}
    work = DownloadWork(out / "work", Layout(len(rows), params.samples_per_shard), rows, params)
    work.open(_fingerprint(captions_file, files, params))
    resumed = _images(work.entries())
    passes, in_time = 0, True
    with LoopbackServer(files, frozenset(j for j, i in enumerate(local) if flaky[i])) as server:
        addresses = [row.url for row in rows]
        for j, i in enumerate(local):
            addresses[i] = server.address(j)
        while work.missing() and passes < params.passes:
            passes += 1
            start = time.perf_counter()
            in_time = _fetch(
                work,
                addresses,
                params,
                processes,
                threads,
                tick=lambda: progress(min(max(work.done(), sum(server.requests.values())), len(rows)), len(rows)),
            )
            fetched = time.perf_counter()
            work.verify()
            seconds["fetch"] += fetched - start
            seconds["verify"] += time.perf_counter() - fetched
    entries = work.entries()
    _require_success(entries, work, params, in_time)
    _publish(work, entries, out)
    progress(len(rows), len(rows))
    dropped = {status: count for status, count in manifest.status_counts(entries).items() if status != SUCCESS}
    return {
        "counts": {"in": len(rows), "out": _images(entries), "resumed": resumed, "dropped": dropped},
        "errors": _errors(entries),
        "passes": passes,
        "shards": len(work.layout.shards),
        "bytes": sum(entry.bytes or 0 for entry in entries),
        "seconds": {phase: round(value, 3) for phase, value in seconds.items()},
        "images_per_second": round((_images(entries) - resumed) / seconds["fetch"], 1) if passes else None,
    }


def _fetch(
    work: DownloadWork,
    addresses: Sequence[str],
    params: DownloadParams,
    processes: int,
    threads: int,
    tick: Callable[[], None],
) -> bool:
    """Let img2dataset fetch all shards that it does not think done. Returns whether it ended before the deadline."""
    table = pa.table({"url": addresses, "caption": [row.caption for row in work.rows]})
    pq.write_table(table, work.folder / "input.parquet")
    arguments = {
        "url_list": str((work.folder / "input.parquet").absolute()),
        "input_format": "parquet",
        "url_col": "url",
        "caption_col": "caption",
        "output_folder": str(work.raw.absolute()),
        "output_format": "parquet",
        "incremental_mode": "incremental",
        "processes_count": min(processes, len(work.missing())),
        "thread_count": threads,
        "number_sample_per_shard": params.samples_per_shard,
        "image_size": params.image_size,
        "resize_mode": params.resize_mode,
        # Enlarging adds nothing but bytes; the modes that are left promise a square.
        "resize_only_if_bigger": params.resize_mode in ("keep_ratio", "keep_ratio_largest"),
        "encode_format": params.encode_format,
        "encode_quality": params.encode_quality,
        "timeout": params.timeout_seconds,
        "retries": params.retries,
        "extract_exif": False,
    }
    return crawl.run(arguments, work.folder, params.deadline_seconds, tick)


def _require_success(entries: Sequence[Entry], work: DownloadWork, params: DownloadParams, in_time: bool) -> None:
    share = success_share(entries)
    if share >= params.min_success:
        return
    counts = ", ".join(f"{status} {count}" for status, count in manifest.status_counts(entries).items())
    lines = [
        f"{share:.1%} of {len(entries)} addresses gave an image ({counts}), but download.min_success asks for "
        f"{params.min_success:.1%}. Mend the captions or the network, or lower download.min_success, and run again: "
        f"good shards are kept in {work.folder}.",
        *(f"  {count} x {error}" for error, count in list(_errors(entries).items())[:_ERRORS_IN_MESSAGE]),
    ]
    if not in_time:
        lines.append(f"The last pass was stopped after download.deadline_seconds, {params.deadline_seconds} s.")
    log = crawl.log_file(work.folder)
    if work.missing() and log.is_file():
        lines.append(f"The end of {log}:")
        lines += log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
    raise DownloadFailed("\n".join(lines))


def _publish(work: DownloadWork, entries: Sequence[Entry], out: Path) -> None:
    """Move the shards into place, write the manifest last, remove the work folder."""
    with atomic_folder(out / "shards") as folder:
        for tar in sorted(work.accepted.glob("*.tar")):
            tar.replace(folder / tar.name)
    manifest.write(out / "manifest.parquet", entries)
    shutil.rmtree(work.folder)


def _read_captions(path: Path) -> tuple[list[Row], list[bool]]:
    if not path.is_file():
        raise MissingInput(f"{path} does not exist; run 'dvc repro captions' to make it")
    try:
        table = pq.read_table(path, columns=["url", "caption", "flaky"])
    except (pa.ArrowException, OSError) as error:
        raise InvalidData(f"{path} is no captions file: {error}") from error
    if not table.num_rows:
        raise InvalidData(f"{path} has no rows")
    urls, captions, flaky = (column.to_pylist() for column in table.columns)
    return [Row(url, caption) for url, caption in zip(urls, captions, strict=True)], flaky


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


def _images(entries: Sequence[Entry]) -> int:
    return sum(entry.status == SUCCESS for entry in entries)


def _errors(entries: Sequence[Entry]) -> dict[str, int]:
    return dict(Counter(entry.error for entry in entries if entry.error is not None).most_common(_ERRORS_SHOWN))

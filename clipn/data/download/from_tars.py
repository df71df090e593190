"""The download stage for images that are in tars already: verified, counted and brought into the canonical form.

Nothing is fetched and nothing encoded anew; each image keeps its bytes.
"""

from __future__ import annotations

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from clipn.config import DownloadParams
from clipn.data import images, tars, verified
from clipn.data.captions import webdataset
from clipn.data.download import shards
from clipn.data.download.failures import NOT_AN_IMAGE
from clipn.data.download.finish import counts, publish, require_success
from clipn.data.download.rows import CaptionRows
from clipn.data.download.shards import Fetched, Layout, Target
from clipn.data.download.work import DownloadWork
from clipn.data.manifest import SUCCESS, Entry
from clipn.errors import InvalidData
from clipn.utils.files import sha256
from clipn.utils.progress import Progress

UNDECODABLE = "failed_to_decode"
"""Status of a file in a tar that is no image or a damaged one."""


class PackedRows(CaptionRows):
    """The rows of a captions file that says where images are in tars."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._places = pq.read_table(path, columns=[field.name for field in webdataset.FIELDS])

    def read(self, i: int) -> bytes:
        """Return the image of a row.

        Raises:
            MissingInput: the tar is gone.
            InvalidData: the tar changed.
        """
        archive, offset, size, digest = (column[i].as_py() for column in self._places.columns)
        return verified.read_at(archive, offset, size, digest)


def pack(captions_file: Path, out: Path, params: DownloadParams, *, workers: int, progress: Progress) -> dict[str, Any]:
    """Write shards and manifest of the images that `captions_file` says to be in tars.

    Args:
        captions_file: as `clipn.data.captions.webdataset.index_tars` writes it.
        out: as that of `clipn.data.download.download.download`.
        params: `samples_per_shard` and `min_success` count here.
        workers: threads that decode, to see that it can be done.
        progress: called with rows done and rows in all.

    Returns:
        the stage's report, as `clipn.data.download.download.download` does.

    Raises:
        MissingInput: a tar is gone.
        InvalidData: a tar changed since the captions stage.
        DownloadFailed: a smaller share than `params.min_success` can be decoded.
    """
    rows = PackedRows(captions_file)
    (out / "manifest.parquet").unlink(missing_ok=True)
    work = DownloadWork(out / "work", Layout(len(rows), params.samples_per_shard), rows, params)
    work.open({"captions": sha256(captions_file), "samples_per_shard": params.samples_per_shard}, progress)
    resumed = work.tally().statuses[SUCCESS]
    start = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        for shard in work.missing():
            numbers = work.layout.rows_of(shard)
            shards.write(work.accepted, shard, list(pool.map(partial(_fetched, work, rows), numbers)))
            progress(numbers.stop, len(rows))
    seconds = time.perf_counter() - start
    tally = work.tally()
    require_success(tally, work, params)
    publish(work, out)
    return {
        "counts": counts(tally, resumed),
        "errors": dict(tally.reasons.most_common()),
        "shards": len(work.layout.shards),
        "bytes": tally.bytes,
        "seconds": {"pack": round(seconds, 3)},
        "images_per_second": round((tally.statuses[SUCCESS] - resumed) / seconds, 1),
    }


def _fetched(work: DownloadWork, rows: PackedRows, i: int) -> Fetched:
    target = work.target(i)
    data = rows.read(i)
    try:
        width, height = images.decode(data, images.MAX_PIXELS).size
        extension = images.extension(data, images.MAX_PIXELS)
    except InvalidData as problem:
        message = f"{NOT_AN_IMAGE}: {problem}"
        entry = Entry(target.key, target.row.url, UNDECODABLE, caption=target.row.caption, error=message)
        return Fetched(entry, dict)
    entry = Entry(
        key=target.key,
        url=target.row.url,
        shard=f"{shards.name(target.shard)}.tar",
        caption=target.row.caption,
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        width=width,
        height=height,
    )
    # The image is read again when it is written, since a shard of them would fill the memory.
    return Fetched(entry, lambda: _sample(target, rows.read(i), extension))


def _sample(target: Target, data: bytes, extension: str) -> tars.Sample:
    details = {"url": target.row.url, "caption": target.row.caption, "key": target.key}
    text = json.dumps(details, ensure_ascii=False, indent=4)
    return {extension: data, "txt": target.row.caption.encode(), "json": text.encode()}

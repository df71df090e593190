"""Checking what img2dataset wrote, shard by shard, and bringing it into a form that only depends on the content.

img2dataset writes samples in the order of their arrival, and with the address that was asked, which for
local files holds a random port. So it writes Parquet, which is quick to check, and a shard that passes is
written as a webdataset sorted by key, with the address of the captions file: equal captions then give
equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clipn import images, manifest, tars
from clipn.errors import InvalidData
from clipn.io import atomic_path, read_json
from clipn.manifest import Entry

_SHARD_DIGITS = 5
_LOOPBACK = re.compile(r"http://127\.0\.0\.1:[0-9]+/[^\s'\">]*")


@dataclass(frozen=True)
class Row:
    """One line of the captions file."""

    url: str
    caption: str


@dataclass(frozen=True)
class Layout:
    """How img2dataset spreads rows over shards and keys."""

    rows: int
    samples_per_shard: int

    @property
    def shards(self) -> range:
        """The shards' numbers."""
        return range(math.ceil(self.rows / self.samples_per_shard))

    def rows_of(self, shard: int) -> range:
        """The rows' numbers in a shard."""
        return range(self.rows)[shard * self.samples_per_shard : (shard + 1) * self.samples_per_shard]

    def key(self, row: int) -> str:
        """The sample key of a row."""
        digits = math.ceil(math.log10(self.samples_per_shard))
        shard, index = divmod(row, self.samples_per_shard)
        return f"{shard * 10**digits + index:0{_SHARD_DIGITS + digits}d}"


def name(shard: int) -> str:
    """What the files of a shard are called, without suffix."""
    return f"{shard:0{_SHARD_DIGITS}d}"


def is_done(raw: Path, shard: int) -> bool:
    """Whether img2dataset thinks that a shard is done and skips it."""
    return _stats(raw, shard).is_file()


def is_accepted(accepted: Path, shard: int) -> bool:
    """Whether a shard passed `accept`."""
    return all((accepted / f"{name(shard)}{suffix}").is_file() for suffix in (".tar", ".parquet"))


def read_accepted(accepted: Path, shard: int) -> list[Entry]:
    """The manifest entries of an accepted shard."""
    return manifest.read(accepted / f"{name(shard)}.parquet")


def discard(raw: Path, accepted: Path, shard: int) -> None:
    """Remove all files of a shard, so that img2dataset fetches it again."""
    parquet = f"{name(shard)}.parquet"
    for file in (accepted / parquet, accepted / f"{name(shard)}.tar", raw / parquet, _stats(raw, shard)):
        file.unlink(missing_ok=True)


def accept(raw: Path, accepted: Path, shard: int, rows: dict[str, Row], extension: str) -> None:
    """Check what img2dataset wrote of a shard, and write it to `accepted`: the tar, then its part of the manifest.

    Args:
        raw: img2dataset's output folder. The shard's data are removed from it; the statistics stay, so that
            img2dataset skips the shard from now on.
        accepted: where good shards go.
        shard: its number.
        rows: key → row, all that belong to the shard.
        extension: of the images.

    Raises:
        MissingInput, InvalidData: files are missing or damaged, or disagree with each other or with `rows`.
    """
    path = raw / f"{name(shard)}.parquet"
    try:
        fetched = {record["key"]: record for record in pq.read_table(path).to_pylist()}
    except (pa.ArrowException, OSError) as error:
        raise InvalidData(f"{path.name} cannot be read: {error}") from error
    if fetched.keys() != rows.keys():
        raise InvalidData(f"{path.name} does not have the {len(rows)} keys that were asked for")
    keys = sorted(rows)
    entries = [_entry(rows[key], fetched[key], extension, f"{name(shard)}.tar") for key in keys]
    good = [key for key, entry in zip(keys, entries, strict=True) if entry.status == manifest.SUCCESS]
    stats = read_json(_stats(raw, shard))
    if not isinstance(stats, dict) or stats.get("successes") != len(good):
        raise InvalidData(f"{path.name} has {len(good)} images, which is not what {_stats(raw, shard).name} says")
    with atomic_path(accepted / f"{name(shard)}.tar") as temporary:
        tars.write(temporary, ((key, _sample(rows[key], fetched[key], extension)) for key in good))
    manifest.write(accepted / path.name, entries)
    path.unlink()


def _entry(row: Row, record: dict[str, Any], extension: str, shard: str) -> Entry:
    key, status, error, image = (record[column] for column in ("key", "status", "error_message", extension))
    if status != manifest.SUCCESS:
        # A function, since backslashes in a replacement string would be read as references.
        message = None if error is None else _LOOPBACK.sub(lambda _: row.url, error)
        return Entry(key, row.url, status, caption=row.caption, error=message)
    try:
        width, height = images.image_size(image or b"", images.MAX_PIXELS)
    except InvalidData as problem:
        raise InvalidData(f"{shard}: the sample {key} is {problem}") from problem
    return Entry(
        key=key,
        url=row.url,
        shard=shard,
        caption=row.caption,
        sha256=hashlib.sha256(image).hexdigest(),
        bytes=len(image),
        width=width,
        height=height,
    )


def _sample(row: Row, record: dict[str, Any], extension: str) -> tars.Sample:
    """The members that img2dataset itself writes to a webdataset: image, caption and details."""
    details = {column: value for column, value in record.items() if column != extension} | {"url": row.url}
    text = json.dumps(details, ensure_ascii=False, indent=4)
    return {extension: record[extension], "txt": row.caption.encode(), "json": text.encode()}


def _stats(raw: Path, shard: int) -> Path:
    return raw / f"{name(shard)}_stats.json"

"""Checking what img2dataset wrote, shard by shard, and bringing it into a form that only depends on the content.

img2dataset writes samples in the order of their arrival, and with the address that was asked, which for
local files holds a random port. So it writes Parquet, which is quick to check, and a shard that passes is
written as a webdataset sorted by key, with the address of the captions file: equal captions then give
equal bytes.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clipn.data import images, manifest, tars, verified
from clipn.data.download import failures
from clipn.data.manifest import Entry
from clipn.errors import InvalidData
from clipn.utils.files import atomic_path, read_json

OPTED_OUT = "opted_out"
"""Status of an image whose server asks not to use it."""

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
        """Return the rows' numbers in a shard."""
        return range(self.rows)[shard * self.samples_per_shard : (shard + 1) * self.samples_per_shard]

    def key(self, row: int) -> str:
        """Return the sample key of a row."""
        digits = math.ceil(math.log10(self.samples_per_shard))
        shard, index = divmod(row, self.samples_per_shard)
        return f"{shard * 10**digits + index:0{_SHARD_DIGITS + digits}d}"


@dataclass(frozen=True)
class Target:
    """Where the image of a row belongs, whatever img2dataset called it."""

    key: str
    shard: int
    row: Row


@dataclass(frozen=True)
class Fetched:
    """What became of one row. The sample is only made when it is asked for, since a shard has thousands."""

    entry: Entry
    sample: Callable[[], tars.Sample]


def name(shard: int) -> str:
    """Return what the files of a shard are called, without suffix."""
    return f"{shard:0{_SHARD_DIGITS}d}"


def is_done(raw: Path, shard: int) -> bool:
    """Return whether img2dataset thinks that a shard is done and skips it."""
    return _stats(raw, shard).is_file()


def done(raw: Path) -> set[int]:
    """Return the shards for which `is_done` holds."""
    return {int(file.name[:_SHARD_DIGITS]) for file in raw.glob("[0-9]" * _SHARD_DIGITS + "_stats.json")}


def is_accepted(accepted: Path, shard: int) -> bool:
    """Return whether a shard passed `accept`."""
    return all((accepted / f"{name(shard)}{suffix}").is_file() for suffix in (".tar", ".parquet"))


def read_accepted(accepted: Path, shard: int) -> list[Entry]:
    """Return the manifest entries of an accepted shard."""
    return manifest.read(accepted / f"{name(shard)}.parquet")


def discard(raw: Path, accepted: Path, shard: int) -> None:
    """Remove all files of a shard, so that img2dataset fetches it again."""
    parquet = f"{name(shard)}.parquet"
    for file in (accepted / parquet, accepted / f"{name(shard)}.tar", raw / parquet, _stats(raw, shard)):
        file.unlink(missing_ok=True)


def read_raw(raw: Path, shard: int, targets: Mapping[str, Target], extension: str) -> list[Fetched]:
    """Check what img2dataset wrote of a shard.

    Args:
        raw: img2dataset's output folder.
        shard: the number that it gave the shard.
        targets: the key that it gave each row → where the image belongs.
        extension: of the images.

    Returns:
        what became of each row, sorted by its key.

    Raises:
        MissingInput, InvalidData: files are missing or damaged, or disagree with each other or with `targets`.
    """
    path = raw / f"{name(shard)}.parquet"
    try:
        table = pq.read_table(path)
        details = table.drop_columns(extension).to_pylist()
        pictures = table[extension]
    except (pa.ArrowException, KeyError, OSError) as error:
        raise InvalidData(f"{path.name} cannot be read: {error}") from error
    if sorted(record.get("key", "") for record in details) != sorted(targets):
        raise InvalidData(f"{path.name} does not have the {len(targets)} keys that were asked for")
    fetched = [
        _fetched(targets[record["key"]], record, picture, extension)
        for record, picture in zip(details, pictures, strict=True)
    ]
    good = sum(item.entry.status == manifest.SUCCESS for item in fetched)
    stats = read_json(_stats(raw, shard))
    if not isinstance(stats, dict) or stats.get("successes") != good:
        raise InvalidData(f"{path.name} has {good} images, which is not what {_stats(raw, shard).name} says")
    return sorted(fetched, key=lambda item: item.entry.key)


def accept(raw: Path, accepted: Path, shard: int, fetched: Sequence[Fetched]) -> None:
    """Write a good shard of img2dataset's to `accepted`.

    Its data are removed from `raw`; the statistics stay, so that img2dataset skips the shard from now on.
    """
    write(accepted, shard, fetched)
    (raw / f"{name(shard)}.parquet").unlink()


def write(accepted: Path, shard: int, fetched: Sequence[Fetched]) -> None:
    """Write a shard to `accepted`: the tar, then its part of the manifest."""
    good = ((item.entry.key, item.sample()) for item in fetched if item.entry.status == manifest.SUCCESS)
    _write(accepted, shard, good, (item.entry for item in fetched))


def merge(accepted: Path, shard: int, fetched: Sequence[Fetched]) -> None:
    """Put what came of single rows later into an accepted shard.

    A merge that was interrupted leaves a tar with images that the manifest does not list yet; merging
    again gives the same bytes as if it had not been.

    Raises:
        InvalidData: the accepted shard is damaged.
    """
    entries = {entry.key: entry for entry in read_accepted(accepted, shard)}
    kept = {key: entry for key, entry in entries.items() if entry.status == manifest.SUCCESS}
    new = [item for item in fetched if item.entry.key not in kept]
    updated = entries | {item.entry.key: item.entry for item in new}
    good = [item for item in new if item.entry.status == manifest.SUCCESS]
    if not good:
        manifest.write(accepted / f"{name(shard)}.parquet", updated.values())
        return
    old = (pair for pair in _samples(accepted, shard, kept) if pair[0] in kept)
    late = ((item.entry.key, item.sample()) for item in good)
    _write(accepted, shard, heapq.merge(old, late, key=lambda pair: pair[0]), updated.values())


def check(accepted: Path, shard: int) -> None:
    """Compare the tar of an accepted shard with its part of the manifest.

    Raises:
        InvalidData: the tar is damaged or cut, holds an image twice, or holds others than the manifest lists.
    """
    entries = read_accepted(accepted, shard)
    kept = {entry.key: entry for entry in entries if entry.status == manifest.SUCCESS}
    for key, _ in _samples(accepted, shard, kept):
        if key not in kept:
            raise InvalidData(f"{name(shard)}.tar holds {key}, which is not in the manifest")


def _samples(accepted: Path, shard: int, entries: Mapping[str, Entry]) -> Iterator[tuple[str, tars.Sample]]:
    """The samples of an accepted tar, those of `entries` checked."""
    path = accepted / f"{name(shard)}.tar"
    return verified.check(tars.read(path), entries, path.name)


def _write(accepted: Path, shard: int, samples: Iterable[tuple[str, tars.Sample]], entries: Iterable[Entry]) -> None:
    with atomic_path(accepted / f"{name(shard)}.tar") as temporary:
        tars.write(temporary, samples)
    manifest.write(accepted / f"{name(shard)}.parquet", entries)


def _fetched(target: Target, record: dict[str, Any], picture: pa.Scalar, extension: str) -> Fetched:
    row = target.row

    def sample() -> tars.Sample:
        """Return the members that img2dataset itself writes to a webdataset: image, caption and details."""
        text = json.dumps(record | {"url": row.url, "key": target.key}, ensure_ascii=False, indent=4)
        return {extension: picture.as_py(), "txt": row.caption.encode(), "json": text.encode()}

    return Fetched(_entry(target, record, picture.as_py(), extension), sample)


def _entry(target: Target, record: dict[str, Any], image: bytes | None, extension: str) -> Entry:
    row, status = target.row, record["status"]
    if status != manifest.SUCCESS:
        # A function, since backslashes in a replacement string would be read as references.
        message = failures.canonical(_LOOPBACK.sub(lambda _: row.url, record["error_message"] or ""))
        if failures.reason(message) == failures.OPT_OUT:
            status = OPTED_OUT
        return Entry(target.key, row.url, status, caption=row.caption, error=message or None)
    try:
        width, height = images.image_size(image or b"", images.MAX_PIXELS)
    except InvalidData as problem:
        raise InvalidData(f"{name(target.shard)}.tar: the sample {target.key} is {problem}") from problem
    assert image is not None  # nothing is no image
    return Entry(
        key=target.key,
        url=row.url,
        shard=f"{name(target.shard)}.tar",
        caption=row.caption,
        sha256=hashlib.sha256(image).hexdigest(),
        bytes=len(image),
        width=width,
        height=height,
    )


def _stats(raw: Path, shard: int) -> Path:
    return raw / f"{name(shard)}_stats.json"

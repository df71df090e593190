"""Images out of tars, each checked against what the manifest or the captions file says of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from clipn.data import tars
from clipn.data.images import SUFFIXES
from clipn.data.manifest import Entry
from clipn.data.tars import Place, Sample
from clipn.errors import InvalidData, MissingInput

Content = TypeVar("Content")


@dataclass(frozen=True)
class Located:
    """An image that a manifest lists, where it lies: its row, the tar, and its place there."""

    entry: Entry
    tar: Path
    place: Place

    def read(self) -> bytes:
        """Read the image and compare it with its hash.

        Raises:
            InvalidData: the tar cannot be read, or does not hold this image there.
        """
        try:
            with self.tar.open("rb") as handle:
                handle.seek(self.place.offset)
                data = handle.read(self.place.size)
        except OSError as error:
            raise InvalidData(f"{self.tar} is a damaged tar: {error}") from error
        _compare(data, self.entry.sha256, self.entry.key, str(self.tar))
        return data


def read(tar: Path, entries: Iterable[Entry]) -> Iterator[tuple[Entry, bytes]]:
    """Yield the images that rows of a manifest list, in the tar's order, one in memory at a time.

    `check` is a step of webdataset's pipeline. Contents of other members are not read. The tar is read
    to its end, since a cut one may lack images that nobody asked for yet.

    Args:
        tar: the shard of these rows.
        entries: the rows.

    Raises:
        MissingInput: there is no such tar.
        InvalidData: the tar is damaged or cut, or as `check`.
    """
    rows, is_listed = _listed(tar, entries)
    checked = partial(check, entries=rows, origin=str(tar))
    for key, sample in tars.samples(tar, tars.contents, checked, select=is_listed, to_the_end=True):
        yield rows[key], image_of(sample) or b""


def locate(tar: Path, entries: Iterable[Entry]) -> Iterator[Located]:
    """Yield where the images lie that rows of a manifest list, in the tar's order.

    Only headers are read here; `Located.read` reads and checks an image, in any thread or process.

    Raises:
        MissingInput, InvalidData: as `read`, except that no image is compared with its hash.
    """
    rows, is_listed = _listed(tar, entries)
    complete = partial(_require_all, entries=rows, origin=str(tar))
    for key, sample in tars.places(tar, complete, select=is_listed):
        if (place := image_of(sample)) is not None:
            yield Located(rows[key], tar, place)


def check(
    samples: Iterable[tuple[str, Sample]], entries: Mapping[str, Entry], origin: str
) -> Iterator[tuple[str, Sample]]:
    """Yield all samples of a tar in their order, and check those that a manifest lists.

    Args:
        samples: keys with their files.
        entries: key → row of the manifest.
        origin: the tar, for messages.

    Raises:
        InvalidData: a listed image is missing, or its hash is not that of its row.
    """
    for key, sample in _require_all(samples, entries, origin):
        if key in entries:
            _compare(image_of(sample) or b"", entries[key].sha256, key, origin)
        yield key, sample


def image_of(sample: Mapping[str, Content]) -> Content | None:
    """Return what a sample has as its image: its first file with the extension of one, such as `jpg`.

    `KEY.mask.png` belongs to the sample too, but is not its image.
    """
    return next((content for extension, content in sample.items() if f".{extension}" in SUFFIXES), None)


def read_at(archive: str, offset: int, size: int, sha256: str) -> bytes:
    """Read the image that lies at a place of a tar, as the captions stage wrote it down.

    Args:
        archive: the tar.
        offset: where the image begins, in bytes.
        size: of the image, in bytes.
        sha256: of the image.

    Raises:
        MissingInput: the tar is gone.
        InvalidData: it holds something else there now.
    """
    try:
        with Path(archive).open("rb") as handle:
            handle.seek(offset)
            data = handle.read(size)
    except OSError as error:
        raise MissingInput(f"{archive} cannot be read any more: {error}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InvalidData(f"{archive} changed since the captions stage read it; run 'dvc repro captions' again")
    return data


def _listed(tar: Path, entries: Iterable[Entry]) -> tuple[dict[str, Entry], Callable[[str], bool]]:
    """Rows by their key, and whether a member of the tar, by its name, is an image of one."""
    if not tar.is_file():
        raise MissingInput(f"{tar} does not exist; run 'dvc pull' to fetch it, or 'dvc repro' to make it")
    rows = {entry.key: entry for entry in entries}

    def is_listed(name: str) -> bool:
        key, extension = tars.split(name)
        return key in rows and f".{extension}" in SUFFIXES

    return rows, is_listed


def _require_all(
    samples: Iterable[tuple[str, Content]], entries: Mapping[str, Entry], origin: str
) -> Iterator[tuple[str, Content]]:
    """The samples; an error after the last one if a row of the manifest was not among them."""
    missing = set(entries)
    for key, sample in samples:
        missing.discard(key)
        yield key, sample
    if missing:
        raise InvalidData(
            f"{origin} lacks {len(missing)} images of the manifest, the first {min(missing)}; it may have been cut. "
            "Delete it and run 'dvc repro' again"
        )


def _compare(data: bytes, sha256: str | None, key: str, origin: str) -> None:
    """Refuse an image that is not that of its row."""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InvalidData(
            f"{origin}: the image {key} is not the one in the manifest; delete the tar and run 'dvc repro' again"
        )

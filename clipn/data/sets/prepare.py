"""Evaluation sets: from whatever they come as to one tar, a manifest and a list of class names."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from clipn.config import PartParams, SetParams, WorldParams
from clipn.data import images, manifest, tars
from clipn.data.manifest import Entry
from clipn.data.sets import archives, class_names
from clipn.data.sets.readers import READERS, Request, Source, webdataset
from clipn.data.sets.readers import folder as folder_reader
from clipn.data.sets.readers.symbols import symbols_of
from clipn.data.sets.registry import registered
from clipn.errors import ClipnError, InvalidData, InvalidParams, MissingInput
from clipn.utils.files import atomic_folder, sha256, write_json
from clipn.utils.progress import Phases, Progress, silent
from clipn.utils.sampling import evenly

TAR = "images.tar"
MANIFEST = "manifest.parquet"
CLASSES = "classes.json"
UNREADABLE = "unreadable"
BATCH = 32
"""Images held in memory at once."""


def prepare_set(
    name: str,
    params: SetParams,
    world: WorldParams,
    out: Path,
    *,
    max_pixels: int,
    max_dropped: float,
    cache: Path = archives.CACHE,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Write the folder `out`: `images.tar`, `manifest.parquet` and `classes.json`.

    Keys are `00000000` onwards in the order of the sorted sources, and keep their number when an
    image is dropped. Labels in the manifest are indices into the class names; both are empty for a
    set without classes.

    Args:
        name: of the set, for messages.
        params: the set's section of the parameters.
        world: how the miniature world is drawn.
        out: the folder to write, whole or not at all.
        max_pixels: larger images are dropped before they are decoded.
        max_dropped: the largest share of unreadable images that is put up with.
        cache: where fetched archives are kept.
        progress: called with the images done and in all.

    Returns:
        the stage's report: `counts` (images in and out, dropped by reason, classes), the origin of the
        images and the seconds of each phase.

    Raises:
        InvalidParams, MissingInput: as `check_set`.
        DownloadFailed: a registered archive could not be fetched.
        InvalidData: no images, no class folders where classes are needed, class names that do
            not fit, or too many unreadable images.
    """
    phases = Phases()
    entries: list[Entry] = []
    with _naming(name), atomic_folder(out) as folder:
        _check(params)
        with phases("fetch"):
            request, origin = _locate(params, world, cache, folder)
        with phases("pack"), READERS[params.reader](request) as source:
            offered = len(source.names)
            if offered == 0:
                raise InvalidData(f"there is no image in {request.path}; {_layout(params)}")
            source = _selected(source, params)
            labels = [label for label in source.labels if label is not None]
            _check_classes(params, source.classes)
            names = class_names.resolve(_names_from(params), source.classes, labels) if params.labelled else []
            tars.write(folder / TAR, _samples(source, max_pixels, entries, progress))
        dropped = [entry for entry in entries if entry.status != manifest.SUCCESS]
        if len(dropped) > max_dropped * len(entries) or len(dropped) == len(entries):
            raise InvalidData(
                f"{len(dropped)} of {len(entries)} images in {request.path} are unreadable, more than "
                f"features.max_dropped ({max_dropped:g}) allows; the first is {dropped[0].url}: {dropped[0].error}"
            )
        manifest.write(folder / MANIFEST, entries)
        write_json(folder / CLASSES, names)
    in_part = len(_in_part(offered, params.part))
    reasons = {UNREADABLE: len(dropped), "other_part": offered - in_part, "over_limit": in_part - len(entries)}
    counts = {
        "in": offered,
        "out": len(entries) - len(dropped),
        "dropped": {reason: count for reason, count in reasons.items() if count},
        "classes": len(names),
    }
    return {"counts": counts, "origin": origin, "seconds": phases.seconds()}


def check_set(name: str, params: SetParams) -> None:
    """Check what can be checked without reading or fetching images.

    Raises:
        InvalidParams: an unknown block or registered set, or one that needs another reader.
        MissingInput: a file or folder that is named, or an environment variable, is not there.
        InvalidData: no class folders, or not as many names as classes.
    """
    with _naming(name):
        _check(params)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Puts the set's name in front of what went wrong."""
    try:
        yield
    except ClipnError as error:
        raise type(error)(f"sets.{name}: {error}") from error


def _check(params: SetParams) -> None:
    path = Path(params.path)
    if params.class_names not in class_names.SPECS:
        class_names.from_file(Path(params.class_names))
    if params.registered:
        entry = registered(params.registered)
        if entry.reader != params.reader:
            raise InvalidParams(f"{params.registered!r} needs the reader {entry.reader!r}, not {params.reader!r}")
        if params.labelled and not entry.classes:
            raise InvalidParams(f"{params.registered!r} has no classes; set labelled: false")
        if entry.files:
            return
        path = next(iter(archives.paths(entry, archives.CACHE)), path)
    if params.reader == "symbols":
        symbols_of(params.block)
    elif params.reader == "webdataset":
        webdataset.shards(path)
    elif params.reader == "tar" and not path.is_file():
        raise MissingInput(f"{path} does not exist; put the archive there or correct the set's path")
    elif params.reader == "folder":
        classes = folder_reader.class_folders(path)
        if params.labelled and not classes:
            raise InvalidData(f"{path} has no class folders; {_layout(params)}")
        _check_classes(params, classes)
        if params.labelled:
            class_names.check(_names_from(params), classes)


def _names_from(params: SetParams) -> str:
    """Where class names come from: what the user asks for, else what the registry says."""
    if params.registered and params.class_names == class_names.FOLDERS:
        return registered(params.registered).class_names
    return params.class_names


def _check_classes(params: SetParams, classes: Sequence[str]) -> None:
    """A set of one's own folders may lack some, which would make the task easier without a word."""
    if params.registered and params.labelled and len(classes) != registered(params.registered).classes:
        entry = registered(params.registered)
        raise InvalidData(f"{entry.title} has {entry.classes} classes, but {len(classes)} are there; complete it")


def _locate(params: SetParams, world: WorldParams, cache: Path, scratch: Path) -> tuple[Request, str]:
    """What the reader is asked for, fetched if need be, and the origin for the report."""
    if params.registered is None:
        return Request(params, world, Path(params.path), scratch), params.path
    entry = registered(params.registered)
    files = archives.fetch(entry, cache)
    parts = [entry.title]
    for file, path in zip(entry.files, files, strict=False):
        parts.append(f"{file.address}, sha256 {sha256(path)}")
    return archives.request(entry, params, world, files, scratch), ", ".join(parts)


def _layout(params: SetParams) -> str:
    if params.reader == "webdataset":
        return "expected is KEY.jpg beside KEY.cls or KEY.json in each tar"
    kinds = ", ".join(sorted(images.SUFFIXES))
    return f"expected is {'CLASS/FILE' if params.labelled else 'FILE'} with one of the endings {kinds}"


def _selected(source: Source, params: SetParams) -> Source:
    """The images of the parts to take, spread evenly where there is a limit; without labels if they do not count."""
    there = _in_part(len(source.names), params.part)
    kept = [there[i] for i in evenly(len(there), params.limit or len(there), "firsts")]
    return Source(
        names=[source.names[i] for i in kept],
        labels=[source.labels[i] if params.labelled else None for i in kept],
        classes=source.classes if params.labelled else [],
        read=lambda i: source.read(kept[i]),
    )


def _in_part(total: int, part: PartParams | None) -> list[int]:
    """Which of `total` images belong to the parts to take."""
    return [i for i in range(total) if part is None or 1 + i % part.of in part.take]


def _samples(
    source: Source, max_pixels: int, entries: list[Entry], progress: Progress
) -> Iterator[tuple[str, tars.Sample]]:
    """Good images as samples of a tar. Every image, good or not, is added to `entries`."""
    total = len(source.names)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, total, BATCH):
            batch = range(start, min(start + BATCH, total))
            contents = [_read(source, i) for i in batch]  # by one thread, since an archive has one position
            checked = pool.map(lambda i, data: _checked(source, i, data, max_pixels), batch, contents)
            for entry, data, extension in checked:
                entries.append(entry)
                if entry.status == manifest.SUCCESS:
                    yield entry.key, {extension: data}
            progress(batch.stop, total)


def _read(source: Source, i: int) -> bytes | InvalidData:
    try:
        return source.read(i)
    except InvalidData as error:
        return error


def _checked(source: Source, i: int, data: bytes | InvalidData, max_pixels: int) -> tuple[Entry, bytes, str]:
    """An image's entry, its content and its file extension. Decodes it, since only that finds one cut off."""
    entry = Entry(key=f"{i:08d}", url=source.names[i], label=source.labels[i])
    try:
        if isinstance(data, InvalidData):
            raise data
        width, height = images.decode(data, max_pixels).size
        extension = images.extension(data, max_pixels)
    except InvalidData as error:
        return replace(entry, status=UNREADABLE, error=str(error)), b"", ""
    digest = hashlib.sha256(data).hexdigest()
    good = replace(entry, shard=TAR, sha256=digest, bytes=len(data), width=width, height=height)
    return good, data, extension

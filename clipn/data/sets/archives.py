"""Registered sets on this machine: what is here, fetched, checked, and the results of checks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from clipn.config import SetParams, WorldParams
from clipn.data import images
from clipn.data.sets.readers import READERS, Request
from clipn.data.sets.registry import FOLDER, File, Registered, registered
from clipn.errors import ClipnError, InvalidData, MissingInput
from clipn.utils.fetch import fetch as fetch_file
from clipn.utils.files import read_json, sha256, write_json
from clipn.utils.progress import Progress, silent

CACHE = Path("data/archives")
MAX_BYTES = 16 * 2**30
"""Limit for a file whose size the registry does not know."""
WORLD = WorldParams(image_size=32, noise=0.0, rotation=0.0, seed=0)
"""Nothing registered is drawn, but readers are told how they would."""

State = Literal["here", "checked", "fetchable", "missing"]


@dataclass(frozen=True)
class Checked:
    """The result of a check.

    Attributes:
        images: how many there are.
        classes: how many different ones their labels name.
        problems: differences from the registry, empty if all is well.
        sha256: file name → digest.
        stamps: what tells later, without reading them again, that the files are still the same.
    """

    images: int
    classes: int
    problems: list[str]
    sha256: dict[str, str]
    stamps: list[list[Any]]


def paths(entry: Registered, cache: Path) -> list[Path]:
    """Return where the files of a set are, or will be: the images first.

    Raises:
        MissingInput: the set has to be obtained by hand, and its environment variable is not set.
    """
    if entry.environment is None:
        return [Path(cache) / file.local for file in entry.files]
    folder = os.environ.get(entry.environment)
    if not folder:
        raise MissingInput(
            f"{entry.title} cannot be fetched ({entry.licence}). {entry.notes} "
            f"The environment variable is {entry.environment}; it is not set. "
            "To go without such sets, write the parameters with 'clipn profile NAME --sets obtainable'"
        )
    if not Path(folder).exists():
        raise MissingInput(f"{folder}, which {entry.environment} names, does not exist; {entry.title} has to be there")
    return [Path(folder)]


def fetch(entry: Registered, cache: Path, progress: Progress = silent) -> list[Path]:
    """Get the files of a set that are not here yet, and check all of them.

    Raises:
        MissingInput: as `paths`, or the disk is too full.
        DownloadFailed: a file could not be fetched, or is not the registered one.
    """
    files = paths(entry, cache)
    if entry.environment is None:
        for file, path in zip(entry.files, files, strict=True):
            _require_space(file, path)
            limit = file.bytes or MAX_BYTES
            fetch_file(file.address, path, md5=file.md5, sha256=file.sha256, max_bytes=limit, progress=progress)
    return files


def _require_space(file: File, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    have = partial.stat().st_size if partial.exists() else 0
    free = shutil.disk_usage(path.parent).free
    if file.bytes and not path.exists() and file.bytes - have > free:
        raise MissingInput(
            f"{path.name} needs {file.bytes - have} bytes more, but {path.parent} has {free} free; "
            "make room, or make data/archives a link to a larger disk"
        )


def state(name: str, cache: Path = CACHE) -> State:
    """Return whether a set is here, here and checked, could be fetched, or has to be obtained by hand."""
    entry = registered(name)
    try:
        files = paths(entry, cache)
    except MissingInput:
        return "missing"
    if not all(path.exists() for path in files):
        return "fetchable"
    if not files:
        return "checked"  # ships with a package
    try:
        receipt = Checked(**read_json(_receipt(name, cache)))
    except (ClipnError, TypeError):
        return "here"
    return "checked" if receipt.stamps == _stamps(files) and not receipt.problems else "here"


def check(name: str, cache: Path = CACHE, *, decode: bool = False, progress: Progress = silent) -> Checked:
    """Compare a set that is here with what the registry says of it, and remember the result.

    Args:
        name: of the set.
        cache: where fetched files are.
        decode: decode every image too.
        progress: called with the images decoded and in all.

    Raises:
        MissingInput: the set is not here.
        DownloadFailed: a file is not the registered one.
        InvalidData: it cannot be read.
    """
    entry = registered(name)
    files = paths(entry, cache)
    if absent := [str(path) for path in files if not path.exists()]:
        raise MissingInput(f"{', '.join(absent)} does not exist; run 'clipn sets fetch {name}'")
    fetch(entry, cache)
    params = SetParams(entry.reader, f"{FOLDER}/{name}.yaml", registered=name, labelled=entry.classes > 0)
    cache.mkdir(parents=True, exist_ok=True)
    with READERS[entry.reader](request(entry, params, WORLD, files, cache)) as source:
        count = len(source.names)
        classes = len({label for label in source.labels if label is not None})
        problems = _differences(entry, count, classes)
        for i in range(count if decode else 0):
            try:
                images.decode(source.read(i), images.MAX_PIXELS)
            except InvalidData as error:
                problems.append(f"{source.names[i]}: {error}")
            progress(i + 1, count)
    digests = {path.name: sha256(path) for path in files if path.is_file()}
    result = Checked(count, classes, problems, digests, _stamps(files))
    write_json(_receipt(name, cache), asdict(result))
    return result


def request(entry: Registered, params: SetParams, world: WorldParams, files: Sequence[Path], scratch: Path) -> Request:
    """Return what the reader of a registered set is asked for."""
    first = files[0] if files else Path(params.path)
    return Request(params, world, first, scratch, entry.layout, tuple(files[1:]))


def _differences(entry: Registered, images: int, classes: int) -> list[str]:
    pairs = (("images", images, entry.images), ("classes", classes, entry.classes))
    return [f"{count} {what}, but the registry says {expected}" for what, count, expected in pairs if count != expected]


def _stamps(files: Sequence[Path]) -> list[list[Any]]:
    return [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in files]


def _receipt(name: str, cache: Path) -> Path:
    return Path(cache) / f"{name}.json"

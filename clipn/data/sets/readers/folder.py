"""Image files in a folder: `CLASS/…/FILE`, or at any depth where there are no classes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from clipn.data.sets.readers.archive import Archive
from clipn.data.sets.readers.base import Request, Source, by_class_folder, is_image, readable
from clipn.data.tars import check_size
from clipn.errors import InvalidData, MissingInput


def class_folders(path: Path) -> list[str]:
    """Return names of the folders directly below `path` that hold an image at any depth, sorted.

    Raises:
        MissingInput: there is no such folder.
    """
    _require(path)
    folders = (entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    return sorted(readable(folder.name) for folder in folders if next(_files(folder), None))


def opened(root: Path) -> Archive:
    """Return the image files below a folder, as if they were in an archive.

    Raises:
        MissingInput: there is no such folder.
    """
    _require(root)
    files = {readable(name): name for name in _files(root)}

    def read(name: str) -> bytes:
        path = root / files[name]
        try:
            check_size("the file", path.stat().st_size)
            return path.read_bytes()
        except OSError as error:
            raise InvalidData(f"cannot be read: {error.strerror}") from error

    return Archive(sorted(files, key=lambda name: name.split("/")), read)


@contextmanager
def open_folder(request: Request) -> Iterator[Source]:
    content = opened(request.path)
    names = content.names
    labels: Sequence[int | None] = [None] * len(names)
    classes: Sequence[str] = []
    if request.params.labelled:
        classes, labels = by_class_folder(names, str(request.path))
    yield Source(names, labels, classes, lambda i: content.read(names[i]))


def _require(root: Path) -> None:
    if not root.is_dir():
        raise MissingInput(f"{root} is no folder; put the images there as CLASS/FILE or correct the set's path")


def _files(root: Path) -> Iterator[str]:
    """Image files below `root`, relative to it. Links to folders are followed at the top only, so never in circles."""
    tops = [root, *(entry for entry in root.iterdir() if entry.is_symlink() and entry.is_dir())]
    for top in tops:
        for folder, _, files in os.walk(top):
            for file in files:
                name = (Path(folder) / file).relative_to(root).as_posix()
                if is_image(name):
                    yield name

"""What a reader of evaluation sets takes and gives."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipn.config import SetParams, WorldParams
from clipn.data.images import SUFFIXES
from clipn.data.sets.registry import WHOLE, Layout
from clipn.errors import InvalidData

NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGITS = tuple(f"digit {numeral}" for numeral in NUMERALS)


@dataclass(frozen=True)
class Request:
    """What is to be read.

    Attributes:
        params: the set's section of the parameters.
        world: how the miniature world is drawn.
        path: where the images are: a folder, an archive or a pattern.
        scratch: a folder for a large temporary file.
        layout: how a registered set is laid out.
        lists: the other files of a registered set.
    """

    params: SetParams
    world: WorldParams
    path: Path
    scratch: Path
    layout: Layout = WHOLE
    lists: Sequence[Path] = ()

    @property
    def prefix(self) -> str:
        """The folder below which the images lie, inside of an archive."""
        return self.layout.prefix


@dataclass(frozen=True)
class Source:
    """A set's images, in order, before any of them is read.

    Attributes:
        names: what the source calls each image.
        labels: class index of each image, or None.
        classes: class names by index; empty where the source does not name its classes.
        read: index → content of the image file. Raises InvalidData for an image that cannot be read.
    """

    names: Sequence[str]
    labels: Sequence[int | None]
    classes: Sequence[str]
    read: Callable[[int], bytes]


Reader = Callable[[Request], AbstractContextManager[Source]]
"""Raises MissingInput or InvalidData on opening."""


def is_image(name: str) -> bool:
    """Return whether a file name is that of an image, and not one that an operating system left behind."""
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden


def readable(name: str) -> str:
    """Return a file name whose undecodable bytes are written out, so that any text file can hold it."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def by_class_folder(names: Sequence[str], origin: str) -> tuple[list[str], list[int]]:
    """Class folders in sorted order, and the class index of each of the `names` (`class/…/file`).

    Raises:
        InvalidData: an image lies outside of any class folder.
    """
    for name in names:
        if "/" not in name:
            raise InvalidData(
                f"{origin}: the image {name!r} is in no class folder; expected is CLASS/FILE, such as dog/1.jpg. "
                "Set labelled: false if this set has no classes"
            )
    folders = [name.partition("/")[0] for name in names]
    classes = sorted(set(folders))
    index = {folder: i for i, folder in enumerate(classes)}
    return classes, [index[folder] for folder in folders]


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode [H, W, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()

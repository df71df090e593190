"""Published evaluation sets: where they are, how to check and read them, and on what terms.

One file of `clipn/data/sets/entries` is one set, so that DVC can watch each of them alone: a change of one set, or a
new one, leaves all others up to date.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Literal
from urllib.parse import urlsplit

import yaml
from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from clipn.config import ReaderName
from clipn.errors import InvalidParams

FOLDER = "clipn/data/sets/entries"
STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=STRICT)
class File:
    """One file to fetch."""

    address: str
    name: str | None = None
    """Its name here, where the publisher's is no good (two sets call theirs images.tar)."""
    bytes: int | None = None
    md5: str | None = None
    sha256: str | None = None

    @property
    def local(self) -> str:
        """Name in the folder of archives."""
        return self.name or urlsplit(self.address).path.rpartition("/")[2]


@dataclass(frozen=True, config=STRICT)
class Table:
    """A list that comes with the images; each line that fits `columns` is a row.

    The lines are those of `member` in the set's file number `file`, the values of the MATLAB `variable` in it (as
    `POSITION VALUE`, counted from 1), or stand in the registry itself (`lines`, or `words` for one word a line).
    """

    columns: str
    """A regular expression for the whole line; its named groups are the columns."""
    file: int = 0
    member: str | None = None
    variable: str | None = None
    lines: str | None = None
    words: str | None = None
    complete: bool = False
    """Whether every row has to find an image; a list of the images to take, say."""


@dataclass(frozen=True, config=STRICT)
class Layout:
    """How images and classes are found among the files of an archive or folder."""

    prefix: str = ""
    """Folder below which the images lie."""
    images: str = r"(?P<class>[^/]+)/.+"
    """A regular expression for the whole path of an image below the prefix; others are left out. Its named groups are
    columns; `class` is the class, and `name`, where there is one, what the class is called."""
    split: Literal["test", "train"] = "test"
    """Which images of an archive that holds both."""
    tables: tuple[Table, ...] = ()
    """Joined to the images one after the other, on the columns that both have; images without a row are left out."""


WHOLE = Layout()
"""Class folders, and nothing around them."""


@dataclass(frozen=True, config=STRICT)
class Registered:
    """One set."""

    title: str
    reader: ReaderName
    """The reader that takes it."""
    images: int
    classes: int
    """0 where the images come without classes, or with classes that say nothing."""
    licence: str
    files: tuple[File, ...] = ()
    """The first one holds the images."""
    class_names: str = "folders"
    """As in the parameters: what the classes are called where the user asks for nothing else."""
    environment: str | None = None
    """The variable that names the folder of a set that has to be obtained by hand."""
    layout: Layout = WHOLE
    evidence: str = ""
    """Where the facts come from."""
    unverified: tuple[str, ...] = ()
    """Facts that rest on one source alone, or that are not known."""
    verified: bool = False
    """Whether those who wrote the entry fetched the set, checked and counted it."""
    id_content: float = 0.0
    """Share of the images that show objects of ImageNet-1K's classes, where that was measured."""
    notes: str = ""

    @property
    def bytes(self) -> int | None:
        """Size of all files, if it is known."""
        sizes = [file.bytes for file in self.files]
        return sum(size or 0 for size in sizes) if sizes and all(sizes) else None


@cache
def registry() -> Mapping[str, Registered]:
    """Return name → entry, sorted."""
    files = resources.files(__package__).joinpath("entries").iterdir()
    texts = {file.name: file.read_text(encoding="utf-8") for file in files if file.name.endswith(".yaml")}
    values = {name.removesuffix(".yaml"): yaml.safe_load(texts[name]) for name in sorted(texts)}
    return TypeAdapter(dict[str, Registered]).validate_python(values)


def registered(name: str) -> Registered:
    """Return one entry.

    Raises:
        InvalidParams: there is none of this name.
    """
    if name not in registry():
        raise InvalidParams(f"no registered set {name!r}; known: {', '.join(registry())}")
    return registry()[name]

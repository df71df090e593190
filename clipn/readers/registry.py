"""Published evaluation sets: where they are, how to check and read them, and on what terms."""

from __future__ import annotations

from functools import cache
from importlib import resources

import yaml
from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from clipn.errors import InvalidParams


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Registered:
    """One entry of `clipn/data/sets.yaml`."""

    title: str
    reader: str
    """The reader that takes it."""
    images: int
    classes: int
    """0 where the images come without classes."""
    licence: str
    address: str | None = None
    md5: str | None = None
    sha256: str | None = None
    verified: bool = False
    """Whether address and checksum were tried by those who wrote the entry."""
    environment: str | None = None
    """The variable that names the folder of a set that has to be obtained by hand."""
    prefix: str = ""
    """Folder of the archive below which the class folders lie."""
    notes: str = ""


@cache
def registry() -> dict[str, Registered]:
    """Name → entry, in the order of the file."""
    text = resources.files("clipn").joinpath("data/sets.yaml").read_text(encoding="utf-8")
    return TypeAdapter(dict[str, Registered]).validate_python(yaml.safe_load(text))


def registered(name: str) -> Registered:
    """One entry.

    Raises:
        InvalidParams: there is none of this name.
    """
    if name not in registry():
        raise InvalidParams(f"no registered set {name!r}; known: {', '.join(registry())}")
    return registry()[name]

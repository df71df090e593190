"""What a report is made of, before it becomes a page or Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True)
class Text:
    """A paragraph or a heading."""

    kind: ClassVar[str] = "text"
    text: str
    role: Literal["plain", "lead", "note", "warning", "heading"] = "plain"
    page_only: bool = False
    """Whether it speaks of pictures, which Markdown leaves out."""


@dataclass(frozen=True)
class Number:
    text: str
    mark: Literal["", "best", "group"] = ""
    """Best of the whole column, or of the rows under one heading."""
    note: str = ""
    """What stands small after it."""


Cell = str | tuple[Number, ...]
"""Text, or numbers one under another."""


@dataclass(frozen=True)
class Column:
    name: str
    note: str = ""
    words: bool = False
    """Whether it holds words, which are set flush left and may wrap, instead of numbers."""
    total: bool = False
    """Whether it sums up the others."""


@dataclass(frozen=True)
class Row:
    """A row of a table, or without cells a heading over those that follow."""

    name: str
    cells: tuple[Cell, ...] = ()
    note: str = ""
    minor: bool = False
    """Whether it is one of several repeats."""


@dataclass(frozen=True)
class Grid:
    """A table. The first of `columns` is that of the rows' names."""

    kind: ClassVar[str] = "grid"
    label: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note_column: str = ""
    """Heading of the rows' notes where these are a column of their own, as in Markdown; none if no row has any."""
    folded: str = ""
    """What stands over a table that the reader has to unfold."""
    folded_repeats: str = ""
    """What stands over the minor rows where a page folds them away beneath the others."""


@dataclass(frozen=True)
class Picture:
    """An image with its data inside the address."""

    src: str
    alt: str
    width: int
    height: int


@dataclass(frozen=True)
class Figure:
    picture: Picture
    caption: str = ""
    tag: str = ""
    note: str = ""


@dataclass(frozen=True)
class Gallery:
    """Pictures beside one another; the page alone shows them."""

    kind: ClassVar[str] = "gallery"
    figures: tuple[Figure, ...]
    size: Literal["wide", "small", "four", "sheet"]


@dataclass(frozen=True)
class Fact:
    name: str
    value: str
    note: str


@dataclass(frozen=True)
class Facts:
    """A few numbers to see first; the page alone shows them, since sentences say the same."""

    kind: ClassVar[str] = "facts"
    facts: tuple[Fact, ...]


Block = Text | Grid | Gallery | Facts


@dataclass(frozen=True)
class Section:
    title: str
    blocks: tuple[Block, ...]
    page_only: bool = False
    """Whether Markdown leaves it out."""

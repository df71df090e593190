"""Published sets whose classes or splits are not plain class folders: the registry says how to find them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from clipn.data.sets.readers import archive, folder, tables
from clipn.data.sets.readers.archive import Archive
from clipn.data.sets.readers.base import Request, Source, is_image
from clipn.data.sets.readers.tables import Row
from clipn.data.sets.registry import Table
from clipn.errors import InvalidData

FILE = "path"
"""Column that every image has: its name in the archive or folder."""


@contextmanager
def open_layout(request: Request) -> Iterator[Source]:
    """As `clipn.data.sets.registry.Layout` says. Classes are in sorted order, numbers by value."""
    with ExitStack() as stack:
        content = stack.enter_context(_opened(request.path, request.scratch))
        rows = _images(content, request)
        for table in request.layout.tables:
            lines, origin = _lines(table, content, request, stack)
            rows = tables.join(
                rows, tables.rows(lines, table.columns, origin), f"{request.path}: {origin}", complete=table.complete
            )
        if not rows:
            raise InvalidData(f"{request.path}: no image is on all of its lists; is this the right archive?")
        names = [row[FILE] for row in rows]
        classes: Sequence[str] = []
        labels: Sequence[int | None] = [None] * len(names)
        if request.params.labelled:
            classes, labels = _classes(rows)
        yield Source(names, labels, classes, lambda i: content.read(names[i]))


@contextmanager
def _opened(path: Path, scratch: Path) -> Iterator[Archive]:
    if path.is_dir():
        yield folder.opened(path)
    else:
        with archive.opened(path, scratch) as content:
            yield content


def _images(content: Archive, request: Request) -> list[Row]:
    prefix = f"{request.prefix}/" if request.prefix else ""
    pattern = re.compile(request.layout.images)
    rows: list[Row] = []
    for name in content.names:
        if is_image(name) and name.startswith(prefix) and (match := pattern.fullmatch(name.removeprefix(prefix))):
            rows.append({FILE: name, **match.groupdict()})
    if not rows:
        first = f"; its first file is {content.names[0]!r}" if content.names else ""
        raise InvalidData(f"{request.path} has no image of the form {prefix}{request.layout.images}{first}")
    return rows


def _lines(table: Table, content: Archive, request: Request, stack: ExitStack) -> tuple[Sequence[str], str]:
    """The lines of a table, and what to call it in messages."""
    if table.words is not None:
        return table.words.split(), "the registry's list"
    if table.lines is not None:
        return table.lines.splitlines(), "the registry's list"
    path = request.path if table.file == 0 else request.lists[table.file - 1]
    if table.member is None:
        data, origin = path.read_bytes(), path.name
    else:
        if table.file:
            content = stack.enter_context(archive.opened(path, request.scratch))
        if table.member not in content.names:
            raise InvalidData(f"{path} has no file {table.member!r}; is this the right archive?")
        data, origin = content.read(table.member), table.member
    if table.variable is not None:
        return tables.matlab_lines(data, table.variable, origin), origin
    return tables.text_lines(data, origin), origin


def _classes(rows: Sequence[Row]) -> tuple[list[str], list[int]]:
    """What the classes are called, and the class index of each image."""
    names = {row["class"]: row.get("name", row["class"]) for row in rows}
    order = sorted(names, key=lambda key: (int(key), "") if key.isdecimal() else (0, key))
    index = {key: i for i, key in enumerate(order)}
    return [names[key] for key in order], [index[row["class"]] for row in rows]

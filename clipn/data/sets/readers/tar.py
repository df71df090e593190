"""Image files in a tar or zip archive: `CLASS/…/FILE`, as a whole or below one folder of the archive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from clipn.data.sets.readers import archive
from clipn.data.sets.readers.base import Request, Source, by_class_folder, is_image
from clipn.errors import InvalidData


@contextmanager
def open_tar(request: Request) -> Iterator[Source]:
    """Without a prefix, a single folder that holds all class folders is skipped."""
    with archive.opened(request.path, request.scratch) as content:
        names = [name for name in content.names if is_image(name)]
        prefix = f"{request.prefix}/" if request.prefix else _common_folder(names)
        inside = [name for name in names if name.startswith(prefix)]
        if names and not inside:
            raise InvalidData(f"{request.path} has no image below {prefix!r}; its first is {names[0]!r}")
        if request.params.labelled:
            classes, labels = by_class_folder([name.removeprefix(prefix) for name in inside], str(request.path))
            yield Source(inside, labels, classes, lambda i: content.read(inside[i]))
        else:
            yield Source(inside, [None] * len(inside), [], lambda i: content.read(inside[i]))


def _common_folder(names: list[str]) -> str:
    """`TOP/` where every name is `TOP/CLASS/…/FILE` with the same TOP, else nothing."""
    tops = {name.partition("/")[0] for name in names}
    return f"{tops.pop()}/" if len(tops) == 1 and all(name.count("/") >= 2 for name in names) else ""

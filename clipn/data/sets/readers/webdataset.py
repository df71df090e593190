"""webdataset shards: `KEY.jpg` beside `KEY.cls` or `KEY.json` with a `label`, in one tar or several."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from clipn.data import tars
from clipn.data.sets.readers import archive
from clipn.data.sets.readers.archive import Archive
from clipn.data.sets.readers.base import Request, Source, is_image
from clipn.data.verified import image_of
from clipn.errors import InvalidData, MissingInput

Label = int | str


def shards(path: Path) -> list[Path]:
    """Return the shards of one tar, a folder of tars or a glob pattern, sorted.

    Raises:
        MissingInput: there are none.
    """
    if path.is_dir():
        matches = sorted(path.glob("*.tar"))
    else:
        top = Path(path.anchor)
        matches = [path] if path.is_file() else sorted(top.glob(str(path.relative_to(top))))
    if not matches:
        raise MissingInput(f"{path} is no tar, no folder of tars and matches none; correct the set's path")
    return matches


@contextmanager
def open_webdataset(request: Request) -> Iterator[Source]:
    """Labels are class indices or, all of them, class names."""
    with ExitStack() as stack:
        places: list[tuple[Archive, str]] = []
        names: list[str] = []
        given: list[Label | None] = []
        for tar in shards(request.path):
            content = stack.enter_context(archive.opened(tar, request.scratch))
            for image, rest in _samples(content, str(tar)):
                places.append((content, image))
                names.append(f"{tar.name}/{image}")
                given.append(_label(content, rest, names[-1]) if request.params.labelled else None)
        labels, classes = _numbered(given, request.path) if request.params.labelled else ([None] * len(given), [])
        yield Source(names, labels, classes, lambda i: places[i][0].read(places[i][1]))


def _samples(content: Archive, origin: str) -> Iterator[tuple[str, dict[str, str]]]:
    """For each key with an image: the image's name, and extension → name of the key's files.

    webdataset groups names instead of contents here, so that no image is read before it is chosen. An
    archive lists its files sorted by folder and name; files of one key need not follow each other in it.
    """
    ranks: dict[str, int] = {}
    for name in content.names:
        ranks.setdefault(tars.split(name)[0], len(ranks))
    names = sorted(content.names, key=lambda name: ranks[tars.split(name)[0]])
    for _, members in tars.group(((name, name) for name in names), origin):
        image = image_of(members)
        if image is not None and is_image(image):
            yield image, members


def _label(content: Archive, members: dict[str, str], image: str) -> Label:
    try:
        if "cls" in members:
            label = int(content.read(members["cls"]))
        elif "json" in members:
            label = json.loads(content.read(members["json"]))["label"]
        else:
            raise InvalidData(f"{image} has no label; expected is a .cls or a .json beside it, or labelled: false")
        str(label).encode()  # a name that is no valid text could not be written
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidData(f"{image}: its label cannot be read ({type(error).__name__}: {error})") from error
    if isinstance(label, bool) or not isinstance(label, int | str) or (isinstance(label, int) and label < 0):
        raise InvalidData(f"{image}: its label is {label!r}; expected is a class index or a class name")
    return label


def _numbered(labels: list[Label | None], path: Path) -> tuple[list[int | None], list[str]]:
    names = sorted({label for label in labels if isinstance(label, str)})
    if not names:
        return [label for label in labels if not isinstance(label, str)], []
    if any(isinstance(label, int) for label in labels):
        raise InvalidData(f"{path}: some labels are numbers and some are names; use one kind")
    return [names.index(label) for label in labels if isinstance(label, str)], names

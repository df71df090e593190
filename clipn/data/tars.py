"""webdataset shards: tar files whose members `KEY.EXTENSION` with one key form a sample.

`samples` and `group` run webdataset's pipeline: its `DataPipeline` goes through the steps, and its
`group_by_keys` makes samples of members. The step that takes members out of a tar is not webdataset's
`tar_file_iterator`, which reads a member whatever its size, unpacks compressed tars without a limit,
ends without a word where a tar was cut, skips names such as `__a__/1.jpg`, and does not say where a
member lies. `read_members` looks at a member's header before its content, and refuses what is too
large, compressed, damaged or cut. Nothing is opened through webdataset, so no address and no pipe either.

Importing webdataset imports torch, which takes seconds. So the functions here import it themselves, and
only stages that read tars wait for it.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar

from clipn.errors import InvalidData

MAX_MEMBER_BYTES = 256 * 2**20

Content = TypeVar("Content")
Sample = dict[str, bytes]
"""Extension → content, without the dot."""
Step = Callable[[Iterable[Any]], Iterator[Any]]
"""What a pipeline does with the items of the step before."""


@dataclass(frozen=True)
class Member:
    """One file of a tar: its name, where its content begins there, and the content."""

    name: str
    offset: int
    content: bytes


@dataclass(frozen=True)
class Place:
    """Where the content of a file lies in a tar: its first byte and its number of bytes."""

    offset: int
    size: int


def write(path: str | Path, samples: Iterable[tuple[str, Sample]]) -> int:
    """Write samples in the given order; equal input gives equal bytes. Returns their number."""
    count = 0
    with tarfile.open(path, "w:", format=tarfile.USTAR_FORMAT) as tar:
        for key, sample in samples:
            for extension, content in sample.items():
                member = tarfile.TarInfo(f"{key}.{extension}")  # time, owner and mode stay at fixed defaults
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            count += 1
    return count


def read(path: str | Path) -> Iterator[tuple[str, Sample]]:
    """Yield the samples of a shard in file order.

    A tar that was cut exactly between two members reads as a shorter one without any error, so
    compare the samples with the manifest (`clipn.data.verified`).

    Raises:
        InvalidData: a damaged tar, a member that is too large, or a key or a file that appears twice.
    """
    return samples(path, contents)


def samples(
    path: str | Path,
    *steps: Step,
    select: Callable[[str], bool] | None = None,
    to_the_end: bool = False,
) -> Iterator[Any]:
    """Yield what webdataset's pipeline makes of a tar: keys with their members by extension, in file order.

    Args:
        path: the tar.
        steps: what else is done with the pairs of key and members; the last one says what is yielded.
        select: which members are read, by their names; None reads all.
        to_the_end: refuse a tar without an end mark, which was cut.

    Raises:
        InvalidData: as `read`, or a missing end mark.
    """
    members = ((member.name, member) for member in read_members(path, select, to_the_end))
    return group(members, str(path), *steps)


def places(path: str | Path, *steps: Step, select: Callable[[str], bool]) -> Iterator[Any]:
    """Yield what webdataset's pipeline makes of a tar as `samples` does, with a `Place` for each member.

    Headers are read, and no contents. Members that are not selected are left out.

    Raises:
        InvalidData: as `read`, or a missing end mark.
    """
    headers = _headers(path, to_the_end=True)
    return group(((name, place) for name, place, _ in headers if select(name)), str(path), *steps)


def contents(samples: Iterable[tuple[str, dict[str, Member]]]) -> Iterator[tuple[str, Sample]]:
    """Yield samples with the contents of their members alone; a step of a pipeline."""
    for key, members in samples:
        yield key, {extension: member.content for extension, member in members.items()}


def group(members: Iterable[tuple[str, Content]], origin: str, *steps: Step) -> Iterator[Any]:
    """Yield samples of named members by webdataset's `group_by_keys`, through further steps.

    Where webdataset would begin a second sample of the same key, or stop with an error of its own,
    this names the key or the file. Extensions that begin with `__` are webdataset's own and left out.

    Args:
        members: names, and what stands for their contents. Members of one key follow each other.
        origin: of the members, for messages.
        steps: as in `samples`.

    Raises:
        InvalidData: a key appears twice, or a file of a sample does.
    """
    from webdataset import DataPipeline

    def source() -> Iterator[dict[str, Any]]:
        return ({"fname": name, "data": content, "__url__": origin} for name, content in members)

    return iter(DataPipeline(source, partial(_grouped, origin), *steps))


def read_members(
    path: str | Path, select: Callable[[str], bool] | None = None, to_the_end: bool = False
) -> Iterator[Member]:
    """Yield the files of a tar that is not compressed, in its order, one in memory at a time.

    Args:
        path: the tar.
        select: as in `samples`; the sizes of all members are checked nevertheless.
        to_the_end: as in `samples`.

    Raises:
        InvalidData: a damaged tar, a member that is too large, or a missing end mark.
    """
    for name, place, read in _headers(path, to_the_end):
        if select is None or select(name):
            with _damage(path):
                content = read()
            yield Member(name, place.offset, content)


def _headers(path: str | Path, to_the_end: bool) -> Iterator[tuple[str, Place, Callable[[], bytes]]]:
    """Names of a tar's files, where they lie, and what reads their contents before the next header is asked for."""
    with _damage(path), Path(path).open("rb") as handle, tarfile.open(fileobj=handle, mode="r:") as tar:
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # tarfile keeps all headers otherwise
            if not member.isreg():
                continue
            check_size(f"{path}: {member.name}", member.size)
            content = tar.extractfile(member)
            assert content is not None  # regular members always have content
            yield member.name, Place(member.offset_data, member.size), content.read
        if to_the_end:
            require_end_mark(handle, tar.offset, path)


@contextmanager
def _damage(path: str | Path) -> Iterator[None]:
    """Turn the errors of reading a tar into one that names it."""
    try:
        yield
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:  # the last one: numbers that are none
        raise InvalidData(f"{path} is a damaged tar: {error}") from error


def split(name: str) -> tuple[str, str]:
    """Return key and extension of a member's name; the extension begins at the first dot and is in lower case."""
    path = PurePosixPath(name)
    stem, _, extension = path.name.partition(".")
    return str(path.parent / stem), extension.lower()


def check_size(what: str, size: int) -> None:
    """Refuse a member that is too large to be read.

    Raises:
        InvalidData: it has more than `MAX_MEMBER_BYTES` bytes.
    """
    if size > MAX_MEMBER_BYTES:
        raise InvalidData(f"{what} has {size} bytes, limit {MAX_MEMBER_BYTES}")


def require_end_mark(handle: IO[bytes], offset: int, path: str | Path) -> None:
    """Refuse a tar that was cut between two members, which looks like a shorter one but for its end mark.

    Args:
        handle: the tar.
        offset: where its last member ends.
        path: for the message.

    Raises:
        InvalidData: there is no end mark.
    """
    handle.seek(offset)
    if handle.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise InvalidData(f"{path} is cut off: it lacks a tar's end mark. Fetch it again")


def _grouped(origin: str, members: Iterable[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Pairs of key and content by extension; no key may come twice."""
    from webdataset.tariterators import group_by_keys

    keys: set[str] = set()
    grouped = group_by_keys(members, keys=_split_for_webdataset)
    while True:
        try:
            sample = next(grouped, None)
        except ValueError as error:  # webdataset's, whose message begins with the file's name
            name = str(error.args[0]).partition(": duplicate file name")[0]
            raise InvalidData(f"{origin}: the member {name!r} appears twice") from error
        if sample is None:
            return
        key = sample["__key__"]
        if key in keys:
            raise InvalidData(f"{origin}: the key {key!r} appears twice")
        keys.add(key)
        yield key, {extension: content for extension, content in sample.items() if not extension.startswith("__")}


def _split_for_webdataset(name: str) -> tuple[str | None, str]:
    """`split`; webdataset leaves out members without a key."""
    key, extension = split(name)
    return (None if extension.startswith("__") else key), extension

"""Files inside tar and zip archives that nobody vouches for. Nothing is unpacked under a name of its own."""

from __future__ import annotations

import gzip
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TypeVar

from clipn.data.sets.readers.base import readable
from clipn.data.tars import check_size, require_end_mark
from clipn.errors import InvalidData, MissingInput

MAX_MEMBERS = 500_000
"""The largest evaluation sets have 50,000 images, and the table of members is held in memory."""
MAX_RATIO = 100
"""Photographs do not shrink any further; an archive that grows a hundredfold is a trap."""
MIN_UNPACKED = 16 * 2**20
"""Archives that unpack to no more than this may have any ratio."""
MAX_UNPACKED = 64 * 2**30
"""No archive may unpack to more than this, since a large one with a modest ratio fills a disk too."""
CHUNK = 2**20

# What zipfile and gzip raise on damaged files: bad structure, names, versions and contents.
DAMAGED = (zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError, zlib.error, EOFError)

Location = TypeVar("Location")


@dataclass(frozen=True)
class Archive:
    """Regular files by name.

    Attributes:
        names: sorted by folder and name.
        read: name → content. Raises InvalidData where it is damaged or too large to be an image.
    """

    names: Sequence[str]
    read: Callable[[str], bytes]


@contextmanager
def opened(path: Path, scratch: Path) -> Iterator[Archive]:
    """Open a .tar, .tar.gz, .tgz or .zip; the kind is told by the content.

    A compressed tar is unpacked to a nameless temporary file in `scratch`, since reading it in
    sorted order would otherwise mean to start over for every file.

    Raises:
        MissingInput: there is no such file.
        InvalidData: a damaged archive, one with a member outside of its own folder or the same name
            twice, one of too many members, or too high a compression.
    """
    if not path.is_file():
        raise MissingInput(f"{path} does not exist; put the archive there or correct the set's path")
    with ExitStack() as stack:
        try:
            archive = _open(path, scratch, stack)
        except (tarfile.TarError, gzip.BadGzipFile, *DAMAGED) as error:
            raise InvalidData(f"{path} is a damaged archive: {error}. Fetch it again") from error
        yield archive


def _open(path: Path, scratch: Path, stack: ExitStack) -> Archive:
    handle = stack.enter_context(path.open("rb"))
    start = handle.read(4)
    handle.seek(0)
    if start == b"PK\x03\x04":
        return _zip(stack.enter_context(zipfile.ZipFile(handle)), path)
    if not start.startswith(b"\x1f\x8b"):
        return _tar(handle, path)
    plain = stack.enter_context(tempfile.TemporaryFile(dir=scratch))  # noqa: SIM115
    _unpack(handle, plain, path)
    return _tar(plain, path)


def _unpack(packed: IO[bytes], plain: IO[bytes], path: Path) -> None:
    limit = _limit(path)
    with gzip.open(packed) as stream:
        while chunk := stream.read(CHUNK):
            if plain.tell() + len(chunk) > limit:
                raise _bomb(path, limit)
            plain.write(chunk)
    plain.seek(0)


def _limit(path: Path) -> int:
    """Bytes to which an archive may unpack."""
    return min(max(MIN_UNPACKED, MAX_RATIO * path.stat().st_size), MAX_UNPACKED)


def _bomb(path: Path, limit: int) -> InvalidData:
    return InvalidData(
        f"{path} unpacks to more than {limit} bytes; allowed are {MAX_RATIO} times its size, and {MAX_UNPACKED} at most"
    )


def _tar(handle: IO[bytes], path: Path) -> Archive:
    places: dict[str, tuple[int, int]] = {}
    with tarfile.open(fileobj=handle, mode="r:", errors="backslashreplace") as tar:
        for count, member in enumerate(tar, 1):
            _check_count(count, path)
            if member.isreg() and not member.issparse():
                _add(places, member.name, (member.offset_data, member.size), path)
        require_end_mark(handle, tar.offset, path)

    def read(name: str) -> bytes:
        offset, size = places[name]
        check_size("the file", size)
        handle.seek(offset)
        return handle.read(size)

    return Archive(_sorted(places), read)


def _zip(container: zipfile.ZipFile, path: Path) -> Archive:
    members: dict[str, zipfile.ZipInfo] = {}
    limit = _limit(path)
    _check_count(len(container.infolist()), path)
    if sum(member.file_size for member in container.infolist()) > limit:
        raise _bomb(path, limit)
    for member in container.infolist():
        kind = stat.S_IFMT(member.external_attr >> 16)
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InvalidData(
                f"{path} is encrypted or compressed in an unusual way; unpack it and use the reader 'folder'"
            )
        if not member.is_dir() and kind in (0, stat.S_IFREG):
            _add(members, member.filename, member, path)

    def read(name: str) -> bytes:
        check_size("the file", members[name].file_size)
        try:
            return container.read(members[name])
        except (*DAMAGED, RuntimeError, OSError) as error:  # the last two: encrypted, or a place before the start
            raise InvalidData(f"{name} is damaged in the archive: {error}") from error

    return Archive(_sorted(members), read)


def _check_count(count: int, path: Path) -> None:
    if count > MAX_MEMBERS:
        raise InvalidData(f"{path} has more than {MAX_MEMBERS} members")


def _add(places: dict[str, Location], name: str, place: Location, path: Path) -> None:
    parts = name.replace("\\", "/").split("/")
    if parts[0] == "" or parts[0].endswith(":") or ".." in parts:
        raise InvalidData(f"{path} has a member outside of its own folder: {name!r}; do not trust this archive")
    name = str(PurePosixPath(readable(name)))
    if name in places:
        raise InvalidData(f"{path} has the member {name!r} twice")
    places[name] = place


def _sorted(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: name.split("/"))

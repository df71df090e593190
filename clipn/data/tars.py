"""webdataset shards: tar files whose members `KEY.EXTENSION` with one key form a sample.

Written and read with the standard library, since importing webdataset imports torch, which costs
the stages that need no tower two seconds each.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from clipn.errors import InvalidData

MAX_MEMBER_BYTES = 256 * 2**20

Sample = dict[str, bytes]
"""Extension → content, without the dot."""


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


@dataclass(frozen=True)
class Member:
    """One file of a sample: its name in the tar, where its content begins there, and the content."""

    name: str
    offset: int
    content: bytes


def read(path: str | Path) -> Iterator[tuple[str, Sample]]:
    """Samples of a shard in file order.

    A tar that was cut exactly between two members reads as a shorter one without any error, so
    compare the number of samples with the manifest.

    Raises:
        InvalidData: a damaged tar, a member that is too large, or a key whose members are not adjacent.
    """
    for key, members in read_members(path):
        yield key, {extension: member.content for extension, member in members.items()}


def read_members(path: str | Path, to_the_end: bool = False) -> Iterator[tuple[str, dict[str, Member]]]:
    """Samples of a shard in file order, as members by extension.

    Args:
        path: the tar.
        to_the_end: refuse a tar without an end mark, which was cut.

    Raises:
        InvalidData: as `read`, or a missing end mark.
    """
    seen: set[str] = set()
    key, sample = "", dict[str, Member]()
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if not member.isreg():
                    continue
                if member.size > MAX_MEMBER_BYTES:
                    raise InvalidData(f"{path}: {member.name} has {member.size} bytes, limit {MAX_MEMBER_BYTES}")
                stem, _, extension = Path(member.name).name.partition(".")
                stem = str(Path(member.name).parent / stem)
                if stem != key:
                    if sample:
                        yield key, sample
                    if stem in seen:
                        raise InvalidData(f"{path}: the key {stem!r} appears twice")
                    seen.add(stem)
                    key, sample = stem, {}
                handle = tar.extractfile(member)
                assert handle is not None  # regular members always have content
                sample[extension.lower()] = Member(member.name, member.offset_data, handle.read())
            if to_the_end and _lacks_end(Path(path), tar.offset):
                raise InvalidData(f"{path} is cut off: it lacks a tar's end mark. Fetch it again")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InvalidData(f"{path} is a damaged tar: {error}") from error
    if sample:
        yield key, sample


def _lacks_end(path: Path, offset: int) -> bool:
    with path.open("rb") as handle:
        handle.seek(offset)
        return handle.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE)

"""webdataset shards: tar files whose members `KEY.EXTENSION` with one key form a sample.

Written and read with the standard library, since importing webdataset imports torch, which costs
the stages that need no tower two seconds each.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator
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


def read(path: str | Path) -> Iterator[tuple[str, Sample]]:
    """Samples of a shard in file order.

    A tar that was cut exactly between two members reads as a shorter one without any error, so
    compare the number of samples with the manifest.

    Raises:
        InvalidData: a damaged tar, a member that is too large, or a key whose members are not adjacent.
    """
    seen: set[str] = set()
    key, sample = "", Sample()
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
                    key, sample = stem, Sample()
                handle = tar.extractfile(member)
                assert handle is not None  # regular members always have content
                sample[extension.lower()] = handle.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InvalidData(f"{path} is a damaged tar: {error}") from error
    if sample:
        yield key, sample

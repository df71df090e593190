"""Images by their key: what the manifest says of them, and their pixels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from clipn.data import images, manifest, verified
from clipn.data.manifest import Entry
from clipn.errors import InvalidData, MissingInput
from clipn.features.store import FeatureStore


@dataclass(frozen=True)
class Images:
    """Images of which the features are known.

    Attributes:
        features: of the images.
        manifest: the file that lists them.
        shards: the folder of the tars that the manifest names.
    """

    features: FeatureStore
    manifest: Path
    shards: Path

    def entries(self, keys: Collection[str]) -> dict[str, Entry]:
        """Return key → the manifest's row, for some keys of the features.

        Raises:
            MissingInput: no manifest.
            InvalidData: it is none, or it lacks one of the keys.
        """
        if not self.manifest.is_file():
            raise MissingInput(f"{self.manifest} does not exist; run 'dvc repro' to make it")
        try:
            wanted = pc.field("key").isin(pa.array(keys, pa.string()))
            rows = pq.read_table(self.manifest, columns=manifest.SCHEMA.names, filters=wanted).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise InvalidData(f"{self.manifest} is no manifest: {error}") from error
        entries = {row["key"]: Entry(**row) for row in rows}
        if missing := set(keys) - entries.keys():
            raise InvalidData(
                f"{self.manifest} lacks {len(missing)} images of {self.features.folder}, the first {min(missing)}; "
                "make the features again with 'dvc repro'"
            )
        return entries

    def decoded(self, entries: Iterable[Entry], max_pixels: int) -> Iterator[tuple[str, Image.Image]]:
        """Keys and images, one at a time, tar after tar. Only tars that hold one of them are read.

        Raises:
            MissingInput: a tar is not there.
            InvalidData: a tar is damaged, lacks an image, or holds another one than the manifest says.
        """
        for shard, rows in manifest.by_shard(entries).items():
            for row, content in verified.read(self.shards / shard, rows):
                yield row.key, images.decode(content, max_pixels)


ImageKey = tuple[Images, str]
"""An image: those it belongs to, and its key among them."""


def entries(places: Iterable[ImageKey]) -> dict[ImageKey, Entry]:
    """Return what the manifests say of images, each manifest read once.

    Raises:
        MissingInput, InvalidData: as `Images.entries`.
    """
    keys: dict[Images, set[str]] = defaultdict(set)
    for source, key in places:
        keys[source].add(key)
    return {(source, key): entry for source in keys for key, entry in source.entries(keys[source]).items()}


def decoded(rows: Mapping[ImageKey, Entry], max_pixels: int) -> Iterator[tuple[ImageKey, Image.Image]]:
    """Yield the images of some manifest rows, one at a time; each tar is read once.

    Raises:
        MissingInput, InvalidData: as `Images.decoded`.
    """
    by_source: dict[Images, list[Entry]] = defaultdict(list)
    for (source, _), entry in rows.items():
        by_source[source].append(entry)
    for source, entries in by_source.items():
        for key, image in source.decoded(entries, max_pixels):
            yield (source, key), image

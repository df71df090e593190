"""Small sets with images, manifests and features, for tests of what compares them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from clipn.data import manifest, tars
from clipn.features.lookup import Images
from clipn.features.rows import FeatureBatch, FeatureMeta
from clipn.features.store import FeatureStore, write_index
from clipn.features.writer import write_shard

MAX_PIXELS = 10_000


@dataclass(frozen=True)
class Picture:
    """A picture of random pixels with the angle of its feature, in degrees: cosines are those of differences."""

    seed: int
    angle: float
    form: str = "png"
    size: tuple[int, int] = (12, 10)

    def file(self) -> bytes:
        width, height = self.size
        pixels = np.random.default_rng(self.seed).integers(0, 256, (height, width, 3), np.uint8)
        buffer = io.BytesIO()
        options = {"lossless": True} if self.form == "webp" else {}
        Image.fromarray(pixels).save(buffer, {"jpg": "JPEG"}.get(self.form, self.form), **options)
        return buffer.getvalue()


def write_images(folder: Path, pictures: Sequence[Picture], backbone: str = "abc") -> Images:
    """A set of pictures with the keys `0`, `1` and so on, in two tars."""
    folder.mkdir(parents=True)
    files = {str(i): (picture.form, picture.file()) for i, picture in enumerate(pictures)}
    shards = {key: f"{int(key) % 2}.tar" for key in files}
    for shard in sorted(set(shards.values())):
        tars.write(folder / shard, ((k, {form: data}) for k, (form, data) in files.items() if shards[k] == shard))
    manifest.write(
        folder / "manifest.parquet",
        [
            manifest.Entry(
                key=key,
                url=key,
                shard=shards[key],
                sha256=hashlib.sha256(data).hexdigest(),
                width=pictures[int(key)].size[0],
                height=pictures[int(key)].size[1],
            )
            for key, (_, data) in files.items()
        ],
    )
    angles = np.radians([picture.angle for picture in pictures])
    shard = folder / "features" / "00000.parquet"
    shard.parent.mkdir()
    with write_shard(shard, FeatureMeta(2, backbone, "none", 1.0, "evaluation")) as writer:
        image = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        writer.append(FeatureBatch(list(files), image, label=np.full(len(files), -1, np.int32)))
    write_index(shard.parent, [shard])
    return Images(FeatureStore.open(shard.parent), folder / "manifest.parquet", folder)

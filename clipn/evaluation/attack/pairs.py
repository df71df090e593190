"""Which OOD image is moved towards which ID image, and the pictures that come of it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipn.data import tars
from clipn.errors import InvalidData
from clipn.features.crops import Crops
from clipn.features.inputs import read_crops
from clipn.features.lookup import Images
from clipn.models.backbone import Backbone
from clipn.utils import contact_sheet
from clipn.utils.sampling import evenly, shares, stream

SHOWN = 10
"""Pairs in a picture."""
TILE = 96
"""Side of an image in it, in pixels."""
GREY = 128
"""Where start and moved image do not differ."""


@dataclass(frozen=True)
class Pair:
    """An OOD image and the ID image that it is moved towards: the OOD set, a key in it, a key of the ID images."""

    set: str
    key: str
    target: str

    @property
    def name(self) -> str:
        return f"{self.set}/{self.key}"


def draw(ood: Mapping[str, Sequence[str]], targets: Sequence[str], images: int, seed: int) -> list[Pair]:
    """Draw pairs of OOD images, spread evenly over the sets and within each, and ID images drawn at random.

    Args:
        ood: OOD set → keys of its images.
        targets: keys of ID images; one is taken twice only where there are fewer than OOD images.
        images: how many pairs; fewer where the OOD sets hold fewer images.
        seed: decides the targets.

    Raises:
        InvalidData: there is no OOD image.
    """
    counts = shares(images, [len(keys) for keys in ood.values()])
    starts = [
        (name, keys[i])
        for (name, keys), count in zip(ood.items(), counts, strict=True)
        for i in evenly(len(keys), count)
    ]
    if not starts:
        raise InvalidData(f"the OOD sets {', '.join(ood)} give no images but duplicates, which overlap.leave_out drops")
    rng = stream("targets", seed)
    chosen = rng.choice(len(targets), size=len(starts), replace=len(starts) > len(targets))
    return [Pair(name, key, targets[i]) for (name, key), i in zip(starts, chosen, strict=True)]


def read(
    pairs: Sequence[Pair], ood: Mapping[str, Images], targets: Images, clip: Backbone, max_pixels: int
) -> tuple[Crops, Crops]:
    """Read the crops of the OOD images [N, H, W, 3] and of their targets, in the order of the pairs.

    Raises:
        MissingInput, InvalidData: as `clipn.features.lookup.Images.entries` and `Images.decoded`.
    """
    of_set = {
        name: read_crops(images, [pair.key for pair in pairs if pair.set == name], clip, max_pixels)
        for name, images in ood.items()
        if any(pair.set == name for pair in pairs)
    }
    rest = {name: iter(pictures) for name, pictures in of_set.items()}
    starts = np.stack([next(rest[pair.set]) for pair in pairs])
    return starts, read_crops(targets, [pair.target for pair in pairs], clip, max_pixels)


def write(folder: Path, kind: str, pairs: Sequence[Pair], starts: Crops, moved: Crops, targets: Crops) -> None:
    """Write `KIND.tar` with `SET/KEY.{start,moved,target}.png` for each pair, and a contact sheet `KIND.png`."""
    pictures = {"start": starts, "moved": moved, "target": targets}
    tars.write(
        folder / f"{kind}.tar",
        (
            (pair.name, {f"{what}.png": _png(of_all[i]) for what, of_all in pictures.items()})
            for i, pair in enumerate(pairs)
        ),
    )
    sheet(starts, moved, targets).save(folder / f"{kind}.png", optimize=True)


def amplification(starts: Crops, moved: Crops) -> int:
    """Return the factor on differences in a picture: the power of two that shows 95 % of them whole."""
    usual = float(np.quantile(np.abs(_difference(starts, moved)), 0.95))
    return 2 ** int(np.clip(np.log2((GREY - 1) / max(usual, 1.0)), 0, 6))


def sheet(starts: Crops, moved: Crops, targets: Crops) -> Image.Image:
    """Draw up to `SHOWN` pairs as columns of start, moved, their amplified difference on grey, and target."""
    difference = amplification(starts, moved) * _difference(starts, moved) + GREY
    rows = (starts, moved, difference.clip(0, 255).astype(np.uint8), targets)
    shown = evenly(len(starts), SHOWN)
    tiles = [Image.fromarray(row[i]) for row in rows for i in shown]
    return contact_sheet.strip(tiles, len(shown), TILE, 4)


def _difference(starts: Crops, moved: Crops) -> NDArray[np.int16]:
    return moved.astype(np.int16) - starts


def _png(picture: Crops) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()

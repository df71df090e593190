"""Duplicates of a benchmark's images: of OOD images among the ID images, and of all among the training images.

Two images are near duplicates if the cosine of their features reaches a threshold, and exact ones if they
have the same size and the same RGB pixels, in whatever lossless format. Equal pixels have equal features up
to rounding, so only pairs that the features propose can be exact. Of these, equal files need no look at the
pixels, nor do images of different size; all others are decoded, and nothing else is, since decoding millions
of training images would take longer than all the rest.

Of each image the `KEPT` nearest of the others are looked at. An exact duplicate is therefore taken for a near
one where more than that many others, which differ in their pixels, have the same features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from clipn.config import BenchmarkParams
from clipn.data.manifest import Entry
from clipn.errors import BackboneMismatch
from clipn.evaluation import duplicates
from clipn.evaluation.duplicates import ID, SCHEMA, TRAINING
from clipn.features import lookup
from clipn.features.lookup import ImageKey, Images
from clipn.features.nearest import Nearest
from clipn.features.store import FeatureBatch
from clipn.utils import contact_sheet
from clipn.utils.arrays import unit_norm
from clipn.utils.progress import Progress, silent
from clipn.utils.sampling import evenly

KEPT = 8
"""Nearest others of each image."""
EXACT_COSINE = 0.99
"""Below the cosine of features of equal pixels, even if one was computed in float32 and the other in bfloat16."""
PAIRS = 8
"""Pairs in a picture."""
TILE = 64
"""Side of an image in it, in pixels."""
Pair = tuple[ImageKey, ImageKey]
"""An image of a set, and one of the others."""


@dataclass(frozen=True)
class Overlap:
    """Duplicates of one benchmark.

    Attributes:
        table: table of `clipn.evaluation.duplicates.SCHEMA`; of each image up to `KEPT` rows, from near to far.
        pictures: (set, other) → up to `PAIRS` pairs that reach the threshold, the set's image above the other;
            from near to far, spread evenly over all images that have such a duplicate.
        counts: for each set its number of `images`, and for `id` and `training`, where they were compared, how
            many of them have an `exact` duplicate there, and how many only a `near` one.
    """

    table: pa.Table
    pictures: Mapping[tuple[str, str], Image.Image]
    counts: Mapping[str, Mapping[str, Any]]


def find(
    benchmark: BenchmarkParams,
    sets: Mapping[str, Images],
    training: Images | None,
    threshold: float,
    *,
    max_pixels: int,
    device: str = "cpu",
    progress: Progress = silent,
) -> Overlap:
    """Compare the OOD sets with the ID set, and all sets with the training images.

    Args:
        benchmark: names of the sets.
        sets: name → its images.
        training: None compares the sets only with each other.
        threshold: smallest cosine of near duplicates.
        max_pixels: larger images are refused before they are decoded.
        device: where the cosines are computed.
        progress: called with the images compared and in all.

    Raises:
        BackboneMismatch: the features come from different backbones.
        MissingInput, InvalidData: files are missing or damaged, or do not belong together.
    """
    names = (benchmark.id, *benchmark.ood)
    others = {ID: sets[benchmark.id], **({TRAINING: training} if training else {})}
    _check_backbones([*(sets[name] for name in names), *others.values()])
    features = {name: sets[name].features.load() for name in names}
    compared = {other: benchmark.ood if other == ID else names for other in others}
    candidates = pa.concat_tables(
        _nearest({name: features[name] for name in compared[other]}, other, images, threshold, device, progress)
        for other, images in others.items()
    )
    cosine = candidates["cosine"].to_numpy()
    places = [_places(row, sets, others) for row in candidates.to_pylist()]
    close = [pair for pair, value in zip(places, cosine, strict=True) if value >= EXACT_COSINE]
    shown = _shown(candidates.filter(pa.array(cosine >= threshold)), sets, others)
    equal, tiles = _decode(close, shown, max_pixels)
    exact = np.array([pair in equal for pair in places], bool)
    table = candidates.append_column(SCHEMA.field("exact"), pa.array(exact))
    table = table.filter(pa.array(exact | (cosine >= threshold)))
    return Overlap(
        table=table,
        pictures={which: _picture(pairs, tiles) for which, pairs in shown.items()},
        counts={
            name: {
                "images": len(features[name]),
                **{other: duplicates.count(table, name, other) for other in others if name in compared[other]},
            }
            for name in names
        },
    )


def write(overlap: Overlap, folder: Path) -> None:
    """Write `duplicates.parquet`, and `SET.OTHER.webp` for each picture."""
    pq.write_table(overlap.table, folder / duplicates.FILE)
    for (name, other), picture in overlap.pictures.items():
        picture.save(folder / f"{name}.{other}.webp", quality=85, method=6)


def _check_backbones(every: Sequence[Images]) -> None:
    first = every[0].features
    for other in (images.features for images in every[1:]):
        if first.meta.backbone != other.meta.backbone:
            raise BackboneMismatch(
                f"{first.folder} holds features of backbone {first.meta.backbone}, {other.folder} of "
                f"{other.meta.backbone}; make them again with 'dvc repro'"
            )


def _nearest(
    features: Mapping[str, FeatureBatch],
    other: str,
    images: Images,
    threshold: float,
    device: str,
    progress: Progress,
) -> pa.Table:
    """Pairs of images of some sets and their nearest `images`, in the order of the sets and from near to far."""
    sets = np.repeat(np.array(list(features), object), [len(batch) for batch in features.values()])
    keys = np.array([key for batch in features.values() for key in batch.keys], object)
    queries = unit_norm(np.concatenate([batch.image for batch in features.values()]))
    search = Nearest(queries, min(threshold, EXACT_COSINE), KEPT, device)
    other_keys: list[pa.Array] = []
    for group in images.features.row_groups():
        batch = images.features.read(group, columns=())
        search.add(unit_norm(batch.image))
        other_keys.append(batch.keys)
        progress(search.seen, len(images.features))
    matches = search.matches()
    columns = [
        pa.array(sets[matches.query], pa.string()),
        pa.array(keys[matches.query], pa.string()),
        pa.array([other] * len(matches.query), pa.string()),
        pa.chunked_array(other_keys, pa.string()).take(pa.array(matches.other)),
        pa.array(matches.cosine),
    ]
    return pa.table(columns, schema=pa.schema(list(SCHEMA)[:-1]))


def _places(row: Mapping[str, Any], sets: Mapping[str, Images], others: Mapping[str, Images]) -> Pair:
    return (sets[row["set"]], row["key"]), (others[row["other"]], row["other_key"])


def _shown(
    near: pa.Table, sets: Mapping[str, Images], others: Mapping[str, Images]
) -> dict[tuple[str, str], list[Pair]]:
    """(set, other) → pairs of an image and its nearest other: the nearest, the farthest and some between."""
    nearest: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in near.to_pylist():
        nearest.setdefault((row["set"], row["other"]), {}).setdefault(row["key"], row)
    shown = {}
    for which, rows in nearest.items():
        ordered = sorted(rows.values(), key=lambda row: -row["cosine"])
        shown[which] = [_places(ordered[i], sets, others) for i in evenly(len(ordered), PAIRS)]
    return shown


def _decode(
    close: Iterable[Pair], shown: Mapping[tuple[str, str], Iterable[Pair]], max_pixels: int
) -> tuple[set[Pair], dict[ImageKey, Image.Image]]:
    """Which of the close pairs have equal pixels, and the tiles of the images that are shown."""
    close = list(close)
    of_tiles = {place for pairs in shown.values() for pair in pairs for place in pair}
    entries = lookup.entries({*of_tiles, *(place for pair in close for place in pair)})
    same_file = {(a, b) for a, b in close if entries[a].sha256 == entries[b].sha256}
    undecided = [(a, b) for a, b in close if (a, b) not in same_file and _size(entries[a]) == _size(entries[b])]
    of_digests = {place for pair in undecided for place in pair}
    digests: dict[ImageKey, bytes] = {}
    tiles: dict[ImageKey, Image.Image] = {}
    for place, image in lookup.decoded({place: entries[place] for place in of_tiles | of_digests}, max_pixels):
        if place in of_digests:
            digests[place] = hashlib.sha256(image.tobytes()).digest()
        if place in of_tiles:
            tiles[place] = contact_sheet.tile(image, TILE)
    return same_file | {(a, b) for a, b in undecided if digests[a] == digests[b]}, tiles


def _size(entry: Entry) -> tuple[int | None, int | None]:
    return entry.width, entry.height


def _picture(pairs: Sequence[Pair], tiles: Mapping[ImageKey, Image.Image]) -> Image.Image:
    """Two rows of `PAIRS` tiles, however few pairs there are, so that all pictures are shown at one scale."""
    rest = [Image.new("RGB", (TILE, TILE), "white")] * (PAIRS - len(pairs))
    upper, lower = zip(*pairs, strict=True)
    rows = [*(tiles[place] for place in upper), *rest, *(tiles[place] for place in lower), *rest]
    return contact_sheet.strip(rows, PAIRS, TILE, 4)

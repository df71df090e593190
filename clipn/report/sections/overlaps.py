"""What the stage `overlap` found: images of a benchmark that are duplicates of others, counted and shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from PIL import Image
from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass as checked_dataclass

from clipn.config import BenchmarkParams
from clipn.data import images
from clipn.errors import InvalidData
from clipn.report.inputs.metrics import Count, validated
from clipn.report.render import pictures
from clipn.report.render.document import Block, Column, Figure, Gallery, Grid, Row, Text
from clipn.report.summary import BenchmarkSummary

OTHERS = {"id": "ID", "training": "training"}
"""What a set was compared with, and what these images are called."""
LEFT_OUT = {
    "none": "None of them is left out of the results.",
    "id": "OOD images that duplicate an ID image are left out of the results.",
    "id-and-training": "OOD images that duplicate an ID or a training image are left out of the results.",
}


@checked_dataclass(frozen=True)
class Duplicates:
    """Numbers of images that have an exact duplicate, and of those that only have a near one."""

    exact: Count
    near: Count


@checked_dataclass(frozen=True)
class SetOverlap:
    images: Count
    """Before any is left out."""
    id: Duplicates | None = None
    """None for the ID set itself."""
    training: Duplicates | None = None
    """None where the training images were not compared."""


@checked_dataclass(frozen=True)
class Found:
    """One file of `reports/overlap`."""

    benchmark: str
    id: str
    ood: tuple[str, ...]
    threshold: Annotated[float, Field(gt=0, le=1)]
    sets: dict[str, SetOverlap]


@dataclass(frozen=True)
class Overlap:
    """Numbers, and pictures of pairs: (set, one of `OTHERS`) → images of the set above their duplicates."""

    found: Found
    pictures: Mapping[tuple[str, str], Image.Image]

    @property
    def has_duplicates(self) -> bool:
        """Whether an image of any set has a duplicate."""
        return any(
            duplicates.exact + duplicates.near
            for overlap in self.found.sets.values()
            for duplicates in (overlap.id, overlap.training)
            if duplicates
        )


_FOUND = TypeAdapter(Found)


def read(root: Path, name: str, benchmark: BenchmarkParams) -> Overlap:
    """Read `reports/overlap/<name>.json` and the pictures in `data/overlap/<name>`.

    Raises:
        MissingInput: the file of numbers does not exist.
        InvalidData: it lacks a field or was made for other sets, or a picture is damaged.
        NonFinite: a value is NaN or infinite.
    """
    path = root / "reports" / "overlap" / f"{name}.json"
    found = validated(path, _FOUND, "'overlap'")
    expected = (name, benchmark.id, benchmark.ood, {benchmark.id, *benchmark.ood})
    if (found.benchmark, found.id, found.ood, set(found.sets)) != expected:
        raise InvalidData(f"{path} is of other sets than benchmark {name!r}; run 'dvc repro'")
    paths = {
        (name_of_set, other): root / "data" / "overlap" / name / f"{name_of_set}.{other}.webp"
        for name_of_set in (found.id, *found.ood)
        for other in OTHERS
    }
    return Overlap(found, {which: _picture(path) for which, path in paths.items() if path.is_file()})


def _picture(path: Path) -> Image.Image:
    try:
        return images.decode(path.read_bytes(), images.MAX_PIXELS)
    except InvalidData as error:
        raise InvalidData(f"{path}: {error}; run 'dvc repro'") from error


def sentence(overlap: Overlap, benchmark: BenchmarkSummary) -> str:
    """What was compared, and what was found or left out."""
    found = overlap.found
    with_training = any(of_set.training for of_set in found.sets.values())
    compared = f"the OOD images with those of {found.id}" + (
        ", and all images with the training images" if with_training else ""
    )
    limit = f"near duplicates have features of cosine {found.threshold:g} or more"
    if not overlap.has_duplicates:
        return f"No duplicates were found when comparing {compared} ({limit})."
    return f"Compared were {compared}; exact duplicates have equal pixels, {limit}. {LEFT_OUT[benchmark.leave_out]}"


def blocks(overlap: Overlap, benchmark: BenchmarkSummary) -> list[Block]:
    """What is shown of it: the sentence, and where there are duplicates their numbers and pictures."""
    found: list[Block] = [Text("Duplicates", "heading"), Text(sentence(overlap, benchmark), "note")]
    if overlap.has_duplicates:
        found.append(table(overlap, benchmark))
    if overlap.pictures:
        found.append(Gallery(tuple(_pairs(*which, sheet) for which, sheet in overlap.pictures.items()), "sheet"))
        words = "Pairs from the nearest on the left to the farthest on the right, spread evenly."
        found.append(Text(words, "note", page_only=True))
    return found


def table(overlap: Overlap, benchmark: BenchmarkSummary) -> Grid:
    """Set, images, exact and near duplicates for each of `OTHERS`; images left out, if any may be."""
    leaves_out = benchmark.leave_out != "none"
    others = {
        other: called
        for other, called in OTHERS.items()
        if any(getattr(of_set, other) for of_set in overlap.found.sets.values())
    }
    kinds = [f"{kind} of {called}" for called in others.values() for kind in ("exact", "near")]
    rows = []
    for name in (benchmark.id, *benchmark.ood):
        of_set = overlap.found.sets[name]
        cells = [f"{of_set.images:,}"]
        for other in others:
            duplicates = getattr(of_set, other)
            cells += [f"{duplicates.exact:,}", f"{duplicates.near:,}"] if duplicates else ["–", "–"]
        if leaves_out:
            cells.append(f"{benchmark.left_out[name]:,}" if name in benchmark.left_out else "–")
        rows.append(Row(name, tuple(cells)))
    header = ("set", "images", *kinds, *(["left out"] if leaves_out else []))
    return Grid(f"Duplicates in {benchmark.name}", tuple(map(Column, header)), tuple(rows))


def _pairs(name: str, other: str, sheet: Image.Image) -> Figure:
    called = OTHERS[other]
    alt = f"Images of the set {name}, and below each the {called} image that it duplicates."
    return Figure(pictures.webp(sheet, alt), name, note=f"above, {called} images below")

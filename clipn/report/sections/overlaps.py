"""Duplicates, counted and shown: images of a benchmark that are duplicates of others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from clipn import paths
from clipn.config import BenchmarkParams
from clipn.evaluation.results.overlap import OverlapResult
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


@dataclass(frozen=True)
class Overlap:
    """Numbers, and pictures of pairs: (set, one of `OTHERS`) → images of the set above their duplicates."""

    result: OverlapResult
    pictures: Mapping[tuple[str, str], Image.Image]


def read(root: Path, name: str, sets: BenchmarkParams) -> Overlap:
    """Read `reports/overlap/<name>.json` and the pictures in `data/overlap/<name>`.

    Raises:
        MissingInput: the file of numbers does not exist.
        InvalidData: it lacks a field or was made for other sets, or a picture is damaged.
        NonFinite: a value is NaN or infinite.
    """
    result = OverlapResult.read_of(root / paths.OVERLAPS / f"{name}.json", name, sets)
    files = {
        (name_of_set, other): root / paths.OVERLAP / name / f"{name_of_set}.{other}.webp"
        for name_of_set in (result.id, *result.ood)
        for other in OTHERS
    }
    return Overlap(result, {which: pictures.read(path) for which, path in files.items() if path.is_file()})


def sentence(overlap: Overlap, benchmark: BenchmarkSummary) -> str:
    """Return what was compared, and which duplicates there are or were left out."""
    result = overlap.result
    with_training = any(of_set.training for of_set in result.sets.values())
    compared = f"the OOD images with those of {result.id}" + (
        ", and all images with the training images" if with_training else ""
    )
    limit = f"near duplicates have features of cosine {result.threshold:g} or more"
    if not overlap.result.has_duplicates:
        return f"No duplicates were found when comparing {compared} ({limit})."
    return f"Compared: {compared}. Exact duplicates have equal pixels; {limit}. {LEFT_OUT[benchmark.leave_out]}"


def blocks(overlap: Overlap, benchmark: BenchmarkSummary) -> list[Block]:
    """Lay out the sentence, and where there are duplicates their numbers and pictures."""
    shown: list[Block] = [Text("Duplicates", "heading"), Text(sentence(overlap, benchmark), "note")]
    if overlap.result.has_duplicates:
        shown.append(table(overlap, benchmark))
    if overlap.pictures:
        shown.append(Gallery(tuple(_pairs(*which, sheet) for which, sheet in overlap.pictures.items()), "sheet"))
        words = "Pairs from the nearest on the left to the farthest on the right, spread evenly."
        shown.append(Text(words, "note", page_only=True))
    return shown


def table(overlap: Overlap, benchmark: BenchmarkSummary) -> Grid:
    """Count images, and exact and near duplicates for each of `OTHERS`; images left out, if any may be."""
    leaves_out = benchmark.leave_out != "none"
    others = {
        other: called
        for other, called in OTHERS.items()
        if any(getattr(of_set, other) for of_set in overlap.result.sets.values())
    }
    kinds = [f"{kind} of {called}" for called in others.values() for kind in ("exact", "near")]
    rows = []
    for name in (benchmark.id, *benchmark.ood):
        of_set = overlap.result.sets[name]
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

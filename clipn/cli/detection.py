"""What `clipn detect` reads and prints."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from clipn import paths, scores
from clipn.data import images
from clipn.detector import Detection, Detector
from clipn.errors import InvalidData, InvalidParams, MissingInput
from clipn.features.rows import FeatureBatch
from clipn.features.store import FeatureStore
from clipn.models.backbone import fingerprint
from clipn.prompts import words
from clipn.utils.files import read_json

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
"""What ends so is meant as a file of class names, not as the name of a class."""


def image_files(files_or_folders: Sequence[Path]) -> list[Path]:
    """Return the image files named, and those in the folders named, in order.

    Raises:
        MissingInput: a path does not exist.
        InvalidData: a folder holds no images.
    """
    files: list[Path] = []
    for path in files_or_folders:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in images.SUFFIXES)
            if not inside:
                raise InvalidData(f"{path} holds no images ({', '.join(sorted(images.SUFFIXES))})")
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise MissingInput(f"{path} does not exist")
    return files


def open_all(files: Sequence[Path]) -> list[Image.Image]:
    """Return decoded images.

    Raises:
        InvalidData: a file is no image, or too large; names the file.
    """
    return [_open(path) for path in files]


def class_names(text: str) -> list[str]:
    """Return the class names in `text`: comma-separated, or the name of a file with one a line.

    Raises:
        MissingInput: `text` names a text file, and there is none.
        InvalidData: the file is no text in UTF-8.
    """
    path = Path(text)
    if _is_file(path):
        try:
            lines = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InvalidData(f"{path} is no text in UTF-8; it has to hold one class name a line") from error
    elif "," not in text and path.suffix.lower() in TEXT_SUFFIXES:
        raise MissingInput(f"{path} does not exist; name a file with one class a line, or the classes themselves")
    else:
        lines = text.replace(",", "\n")
    return [line.strip() for line in lines.splitlines() if line.strip()]


def set_classes(name: str) -> list[str]:
    """Return the class names of a set that went through the pipeline.

    Raises:
        MissingInput: there is no such set.
        InvalidData: it has no classes.
    """
    names = read_json(paths.SETS / name / "classes.json")
    if not names:
        raise InvalidData(f"the set {name!r} has no classes; name them with --classes")
    return names


def set_features(name: str, backbone: Path) -> FeatureBatch:
    """Return the features of a set that went through the pipeline.

    Raises:
        MissingInput: there are none.
        BackboneMismatch: another backbone made them.
    """
    return FeatureStore.open(paths.SET_FEATURES / name, fingerprint(backbone)).load()


def id_images(calibrate: Path | None, set_name: str | None, backbone: Path) -> list[Image.Image] | FeatureBatch:
    """Return what sets the threshold: the images of the folder `calibrate`, or else the features of a set."""
    if calibrate:
        return open_all(image_files([calibrate]))
    return set_features(str(set_name), backbone)


def load(
    model: Path,
    backbone: Path,
    classes: Sequence[str],
    *,
    score: str,
    templates: str,
    fit: str | None,
    device: str | None,
    batch_size: int,
) -> Detector:
    """Return the detector, with the word list and the ID images that its score needs.

    Raises:
        InvalidParams: the score needs ID images, and `fit` names none.
        InvalidData: the score learns classes, and those of `fit` are others than `classes`.
    """
    needs = scores.REGISTRY[score].needs
    if "images" in needs and fit is None:
        raise InvalidParams(f"{score} needs in-distribution images; name a set of them with --fit")
    if fit is not None and "labels" in needs:
        store = FeatureStore.open(paths.SET_FEATURES / fit, fingerprint(backbone))
        if list(store.meta.classes) != list(classes):
            raise InvalidData(f"{score} learns the classes of {fit!r}, but other ones are asked for")
    return Detector.load(
        model,
        backbone,
        classes,
        score=score,
        template_set=templates,
        words=words.read(paths.WORDS / words.FILE, fingerprint(backbone)) if "words" in needs else None,
        id_features=None if fit is None else set_features(fit, backbone),
        device=device,
        batch_size=batch_size,
    )


def rows(files: Sequence[Path], detections: Sequence[Detection]) -> list[dict[str, Any]]:
    """Return a row for each image: its file and what the detector says of it."""
    return [{"image": str(path), **asdict(detection)} for path, detection in zip(files, detections, strict=True)]


def show(rows: Sequence[dict[str, Any]], output: str, *, score: str, n_classes: int) -> None:
    """Print rows as `output`: "json", "csv" or, for a person, "table"."""
    if output == "json":
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    elif output == "csv":
        writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    else:
        table = Table(Column("image", overflow="fold"), "ID?", "class", "probability", score)
        for row in rows:
            verdict = "[green]yes[/]" if row["accepted"] else "[red]no[/]"
            table.add_row(
                Text(row["image"]), verdict, Text(row["label"]), f"{row['probability']:.3f}", f"{row['score']:.4f}"
            )
        Console().print(table)
        print(f"{sum(not row['accepted'] for row in rows)} of {len(rows)} images belong to none of {n_classes} classes")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a long list of classes is longer than a file name may be
        return False


def _open(path: Path) -> Image.Image:
    try:
        return images.decode(path.read_bytes(), images.MAX_PIXELS)
    except InvalidData as error:
        raise InvalidData(f"{path}: {error}") from error

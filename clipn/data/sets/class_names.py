"""Names for the classes of an evaluation set: its folders', ImageNet's, or your own from a text file.

`imagenet` are the names that CLIPN's code, CLIP and open_clip share; "missile" and "sunglasses" stand there twice.
`imagenet_clean` calls the second pair's other halves "projectile" and "sunglass", as WordNet does.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path

from clipn.config.data import CLASS_NAMES
from clipn.errors import InvalidData, MissingInput

FOLDERS = "folders"
IMAGENET = {"imagenet": "reference", "imagenet_clean": "clean"}
"""Spec → column of `clipn/data/sets/imagenet_classes.tsv`."""
SPECS = CLASS_NAMES


@cache
def imagenet(spec: str) -> Mapping[str, str]:
    """WordNet id → name of ImageNet-1K's classes, in the usual order, which is that of the ids."""
    text = resources.files(__package__).joinpath("imagenet_classes.tsv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return {row["wordnet_id"]: row[IMAGENET[spec]] for row in rows}


def resolve(spec: str, classes: Sequence[str], labels: Sequence[int]) -> list[str]:
    """Class names by index.

    Args:
        spec: `folders`, `imagenet`, `imagenet_clean` or a text file, as in `SetParams.class_names`.
        classes: what the source calls its classes; empty where its labels are mere numbers.
        labels: all labels of the set.

    Raises:
        MissingInput: there is no such text file.
        InvalidData: the names do not fit the classes.
    """
    if spec == FOLDERS:
        if not classes:
            raise InvalidData("labels are numbers here; set class_names to 'imagenet' or a text file of names")
        return [name.replace("_", " ") for name in classes]
    if classes:
        check(spec, classes)
    if spec in IMAGENET:
        names = [imagenet(spec)[name] for name in classes] if classes else list(imagenet(spec).values())
    else:
        names = from_file(Path(spec))
    if max(labels, default=-1) >= len(names):
        raise InvalidData(f"class_names: {spec} has {len(names)} names, but there is a label {max(labels)}")
    return names


def check(spec: str, classes: Sequence[str]) -> None:
    """See that `spec` has a name for each of the sorted `classes`.

    Raises:
        as `resolve`.
    """
    if spec in IMAGENET:
        if strange := [name for name in classes if name not in imagenet(spec)]:
            raise InvalidData(
                f"class_names: {spec} takes folders of ImageNet-1K's WordNet ids, n01440764 to n15075141; "
                f"{len(strange)} of {len(classes)} are none, the first is {strange[0]!r}"
            )
    elif spec != FOLDERS:
        names = from_file(Path(spec))
        if len(names) != len(classes):
            raise InvalidData(
                f"class_names: {spec} has {len(names)} names for {len(classes)} classes; it needs one line for each "
                f"folder in sorted order, the first for {classes[0]!r}"
            )


def from_file(path: Path) -> list[str]:
    """Read one name a line.

    Raises:
        MissingInput: there is no such file.
        InvalidData: it is no UTF-8 text, or a line is blank.
    """
    if not path.is_file():
        raise MissingInput(f"class_names: {path} does not exist; write {', '.join(SPECS)} or a text file's path")
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").rstrip().splitlines()]
    except UnicodeDecodeError as error:
        raise InvalidData(f"class_names: {path} is not UTF-8 text: {error}") from error
    for number, name in enumerate(names, 1):
        if not name:
            raise InvalidData(f"class_names: line {number} of {path} is blank; it needs one name a line")
    return names

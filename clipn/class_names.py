"""Names for the classes of an evaluation set: its folders', ImageNet's, or your own from a text file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from clipn.errors import InvalidData, MissingInput

WORDNET_ID = re.compile(r"n\d{8}")


def resolve(spec: str, classes: Sequence[str], labels: Sequence[int]) -> list[str]:
    """Class names by index.

    Args:
        spec: `folders`, `imagenet` or a text file, as in `SetParams.class_names`.
        classes: what the source calls its classes; empty where its labels are mere numbers.
        labels: all labels of the set.

    Raises:
        MissingInput: there is no such text file.
        InvalidData: the names do not fit the classes.
    """
    if spec == "folders":
        if not classes:
            raise InvalidData("labels are numbers here; set class_names to 'imagenet' or a text file of names")
        return [name.replace("_", " ") for name in classes]
    if classes:
        check(spec, classes)
    if spec == "imagenet":
        import open_clip  # imports torch, which the other cases do without

        names = list(open_clip.IMAGENET_CLASSNAMES)
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
    if spec == "imagenet":
        if len(classes) != 1000 or not all(WORDNET_ID.fullmatch(name) for name in classes):
            raise InvalidData(
                f"class_names: imagenet takes the 1,000 folders n01440764 to n15075141; there are {len(classes)} "
                f"folders, the first {classes[0]!r}"
            )
    elif spec != "folders":
        names = from_file(Path(spec))
        if len(names) != len(classes):
            raise InvalidData(
                f"class_names: {spec} has {len(names)} names for {len(classes)} classes; it needs one line for each "
                f"folder in sorted order, the first for {classes[0]!r}"
            )


def from_file(path: Path) -> list[str]:
    """One name a line.

    Raises:
        MissingInput: there is no such file.
        InvalidData: it is no UTF-8 text, or a line is blank.
    """
    if not path.is_file():
        raise MissingInput(f"class_names: {path} does not exist; write 'folders', 'imagenet' or a text file's path")
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").rstrip().splitlines()]
    except UnicodeDecodeError as error:
        raise InvalidData(f"class_names: {path} is not UTF-8 text: {error}") from error
    for number, name in enumerate(names, 1):
        if not name:
            raise InvalidData(f"class_names: line {number} of {path} is blank; it needs one name a line")
    return names

"""Sample images of a set, chosen the same way every time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from clipn import paths
from clipn.data import images, manifest, verified
from clipn.errors import InvalidData
from clipn.utils.files import read_json
from clipn.utils.sampling import evenly


@dataclass(frozen=True)
class Sample:
    image: Image.Image
    name: str | None
    """Class name, where the set has classes."""


def read(root: Path, name: str, count: int) -> list[Sample]:
    """Read up to `count` images spread evenly over the set `name`, in the manifest's order.

    Images that cannot be decoded are left out, as the features stage does.

    Raises:
        MissingInput: the set's manifest or tar does not exist.
        InvalidData: the manifest or the tar is damaged, they do not agree, or no image can be shown.
    """
    folder = root / paths.SETS / name
    entries = [entry for entry in manifest.read(folder / "manifest.parquet") if entry.status == manifest.SUCCESS]
    chosen = [entries[i] for i in evenly(len(entries), count, "middles")]
    classes = _class_names(folder / "classes.json")
    content = {entry.key: data for entry, data in verified.read(folder / "images.tar", chosen)}
    samples = []
    for entry in chosen:
        try:
            image = images.decode(content[entry.key], images.MAX_PIXELS)
        except InvalidData:
            continue
        label = -1 if entry.label is None else entry.label
        samples.append(Sample(image, classes[label] if 0 <= label < len(classes) else None))
    if not samples:
        raise InvalidData(f"{folder / 'images.tar'} has no image of the manifest that can be decoded; run 'dvc repro'")
    return samples


def _class_names(path: Path) -> list[str]:
    """Return names in the order of the labels; none for a set without classes."""
    names = read_json(path) if path.is_file() else []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidData(f"{path} is not a list of class names; run 'dvc repro'")
    return names

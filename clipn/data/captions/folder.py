"""Training pairs as files in a folder: images, and their captions in text files beside them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from clipn.data.captions.pairs import DroppedPairError, caption_text, summary
from clipn.data.images import SUFFIXES
from clipn.errors import InvalidData, MissingInput
from clipn.utils.progress import Progress


def find_images(folder: Path) -> list[Path]:
    """Return the images of a folder and of the folders in it, sorted; hidden ones are left out.

    Raises:
        MissingInput: there are none.
    """
    if not folder.is_dir():
        raise MissingInput(f"captions.path: {folder} is no folder")
    images = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and file.is_file()
    )
    if not images:
        raise MissingInput(f"captions.path: {folder} has no image ({', '.join(sorted(SUFFIXES))})")
    return images


def read_folder(folder: Path, limit: int | None, progress: Progress) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read images with their captions in text files of the same name beside them, `a.txt` for `a.jpg`.

    Returns:
        rows of `url` (an absolute path) and `caption`, and the stage's report.

    Raises:
        MissingInput: the folder has no image.
        InvalidData: no image has a caption.
    """
    images = find_images(folder)
    dropped: Counter[str] = Counter()
    rows: list[tuple[str, str]] = []
    for i, image in enumerate(images):
        text = image.with_suffix(".txt")
        try:
            if limit is not None and len(rows) >= limit:
                raise DroppedPairError("over_limit")
            if not text.is_file():
                raise DroppedPairError("without_caption")
            rows.append((str(image.absolute()), caption_text(text.read_bytes())))
        except DroppedPairError as reason:
            dropped[str(reason)] += 1
        progress(i + 1, len(images))
    if not rows:
        raise InvalidData(
            f"no image in {folder} has a caption in a text file beside it (a.txt for a.jpg): {summary(dropped)}"
        )
    report = {"counts": {"in": len(images), "dropped": dict(dropped)}}
    return pd.DataFrame(rows, columns=["url", "caption"]), report

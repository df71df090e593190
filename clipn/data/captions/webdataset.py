"""Training pairs that exist already, as webdataset tars or as files in a folder: what the captions stage makes of them.

Of tars, `captions.parquet` says besides where each image is: `archive`, `offset` and `size`, and its `sha256`,
so that the download stage reads it without any web server and notices when it is not the same any more.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from clipn.data import tars
from clipn.data.images import SUFFIXES
from clipn.data.tars import Member
from clipn.errors import InvalidData, MissingInput
from clipn.utils.progress import Progress

FIELDS = [
    pa.field("archive", pa.string(), nullable=False),
    pa.field("offset", pa.int64(), nullable=False),
    pa.field("size", pa.int64(), nullable=False),
    pa.field("sha256", pa.string(), nullable=False),
]
"""What the captions file of a webdataset has besides its usual columns."""
CAPTION_KEYS = ("caption", "text")
"""Of the JSON member, where there is no text member."""


class _DroppedError(Exception):
    """A sample cannot be used; the message is the reason."""


def find_tars(path: Path, pattern: str) -> list[Path]:
    """One tar, or those of a folder that match a pattern, sorted.

    Raises:
        MissingInput: there are none.
    """
    found = [path] if path.is_file() else sorted(file for file in path.glob(pattern) if file.is_file())
    if not found:
        what = "has no file that matches captions.pattern" if path.is_dir() else "does not exist; captions.pattern is"
        raise MissingInput(f"captions.path: {path} {what} {pattern!r}")
    return found


def find_images(folder: Path) -> list[Path]:
    """The images of a folder and of the folders in it, sorted; hidden ones are left out.

    Raises:
        MissingInput: there are none.
    """
    if not folder.is_dir():
        raise MissingInput(f"captions.path: {folder} is no folder")
    found = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and file.is_file()
    )
    if not found:
        raise MissingInput(f"captions.path: {folder} has no image ({', '.join(sorted(SUFFIXES))})")
    return found


def read_folder(folder: Path, limit: int | None, progress: Progress) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Images with their captions in text files of the same name beside them, `IMAGE.txt`.

    Returns:
        rows of `url` (an absolute path) and `caption`, and the stage's report.

    Raises:
        MissingInput: the folder has no image.
        InvalidData: no image has a caption.
    """
    found = find_images(folder)
    dropped: Counter[str] = Counter()
    rows: list[tuple[str, str]] = []
    for i, image in enumerate(found):
        text = image.with_suffix(".txt")
        try:
            if limit is not None and len(rows) >= limit:
                raise _DroppedError("over_limit")
            if not text.is_file():
                raise _DroppedError("without_caption")
            rows.append((str(image.absolute()), _text(text.read_bytes())))
        except _DroppedError as reason:
            dropped[str(reason)] += 1
        progress(i + 1, len(found))
    if not rows:
        raise InvalidData(
            f"no image in {folder} has a caption in a text file beside it (a.txt for a.jpg): {_say(dropped)}"
        )
    report = {"counts": {"in": len(found), "dropped": dict(dropped)}}
    return pd.DataFrame(rows, columns=["url", "caption"]), report


def index_tars(
    path: Path, pattern: str, limit: int | None, out: Path, schema: pa.Schema, progress: Progress
) -> dict[str, Any]:
    """Read webdataset tars to their ends and write where each image with a caption is.

    Args:
        path: a tar or a folder of them.
        pattern: which files of the folder.
        limit: take only the first so many, and read no further.
        out: the captions file to write.
        schema: of the usual columns.
        progress: told the tars done and in all.

    Returns:
        the stage's report.

    Raises:
        MissingInput: there is no tar.
        InvalidData: a tar is damaged or cut, or has a key twice, or no sample is left.
    """
    found = find_tars(path, pattern)
    names = [tar.name if path.is_file() else str(tar.relative_to(path)) for tar in found]
    dropped: Counter[str] = Counter()
    total = kept = 0
    full = pa.schema([*schema, *FIELDS])
    with pq.ParquetWriter(out, full) as writer:
        for done, (tar, name) in enumerate(zip(found, names, strict=True)):
            rows: list[dict[str, Any]] = []
            for _, members in tars.read_members(tar, to_the_end=True):
                if kept + len(rows) == limit:
                    break
                total += 1
                try:
                    rows.append(_row(tar, name, members))
                except _DroppedError as reason:
                    dropped[str(reason)] += 1
            kept += len(rows)
            writer.write_table(pa.Table.from_pylist(rows, schema=full))
            progress(done + 1, len(found))
            if kept == limit:
                break
    if not kept:
        raise InvalidData(f"{path}: no sample has both an image and a caption: {_say(dropped)}")
    return {"counts": {"in": total, "dropped": dict(dropped), "out": kept}, "tars": done + 1}


def _row(tar: Path, name: str, members: dict[str, Member]) -> dict[str, Any]:
    image = next((member for extension, member in members.items() if f".{extension}" in SUFFIXES), None)
    if image is None:
        raise _DroppedError("without_image")
    return {
        "url": f"{name}/{image.name}",
        "caption": _caption(members),
        "flaky": False,
        "archive": str(tar.absolute()),
        "offset": image.offset,
        "size": len(image.content),
        "sha256": hashlib.sha256(image.content).hexdigest(),
    }


def _caption(members: dict[str, Member]) -> str:
    if "txt" in members:
        return _text(members["txt"].content)
    if "json" not in members:
        raise _DroppedError("without_caption")
    try:
        details = json.loads(members["json"].content)
    except (ValueError, RecursionError) as error:
        raise _DroppedError("unreadable_caption") from error
    texts: Iterable[Any] = (details.get(key) for key in CAPTION_KEYS) if isinstance(details, dict) else ()
    text = next((text for text in texts if isinstance(text, str)), None)
    if text is None:
        raise _DroppedError("without_caption")
    return _text(text.encode("utf-8", errors="surrogatepass"))


def _text(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise _DroppedError("unreadable_caption") from error
    if not text:
        raise _DroppedError("empty")
    return text


def _say(dropped: Counter[str]) -> str:
    return ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in dropped.most_common())


def read_image(archive: str, offset: int, size: int, sha256: str) -> bytes:
    """An image that `index_tars` found.

    Raises:
        MissingInput: the tar is gone.
        InvalidData: it holds something else there now.
    """
    try:
        with Path(archive).open("rb") as handle:
            handle.seek(offset)
            data = handle.read(size)
    except OSError as error:
        raise MissingInput(f"{archive} cannot be read any more: {error}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InvalidData(f"{archive} changed since the captions stage read it; run 'dvc repro captions' again")
    return data


def is_packed(captions_file: Path) -> bool:
    """Whether a captions file says where images are in tars."""
    try:
        return set(pq.read_schema(captions_file).names) >= {field.name for field in FIELDS}
    except (pa.ArrowException, OSError):
        return False

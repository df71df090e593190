"""Training pairs that are in webdataset tars already: what the captions stage writes of them.

Besides the usual columns, `captions.parquet` says where each image is (`archive`, `offset` and `size`) and
its `sha256`. So the download stage reads it without any web server, and notices when it has changed.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clipn.data import tars
from clipn.data.captions.pairs import DroppedPairError, caption_text, summary
from clipn.data.tars import Member
from clipn.data.verified import image_of
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


def find_tars(path: Path, pattern: str) -> list[Path]:
    """Return one tar, or those of a folder that match a pattern, sorted.

    Raises:
        MissingInput: there are none.
    """
    shards = [path] if path.is_file() else sorted(file for file in path.glob(pattern) if file.is_file())
    if not shards:
        what = "has no file that matches captions.pattern" if path.is_dir() else "does not exist; captions.pattern is"
        raise MissingInput(f"captions.path: {path} {what} {pattern!r}")
    return shards


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
        progress: called with the tars done and in all.

    Returns:
        the stage's report.

    Raises:
        MissingInput: there is no tar.
        InvalidData: a tar is damaged or cut, or has a key twice, or no sample is left.
    """
    shards = find_tars(path, pattern)
    names = [tar.name if path.is_file() else str(tar.relative_to(path)) for tar in shards]
    dropped: Counter[str] = Counter()
    total = kept = 0
    full = pa.schema([*schema, *FIELDS])
    with pq.ParquetWriter(out, full) as writer:
        for done, (tar, name) in enumerate(zip(shards, names, strict=True)):
            rows: list[dict[str, Any]] = []
            for _, members in tars.samples(tar, to_the_end=True):
                if kept + len(rows) == limit:
                    break
                total += 1
                try:
                    rows.append(_row(tar, name, members))
                except DroppedPairError as reason:
                    dropped[str(reason)] += 1
            kept += len(rows)
            writer.write_table(pa.Table.from_pylist(rows, schema=full))
            progress(done + 1, len(shards))
            if kept == limit:
                break
    if not kept:
        raise InvalidData(f"{path}: no sample has both an image and a caption: {summary(dropped)}")
    return {"counts": {"in": total, "dropped": dict(dropped), "out": kept}, "tars": done + 1}


def is_packed(captions_file: Path) -> bool:
    """Return whether a captions file says where images are in tars."""
    try:
        return set(pq.read_schema(captions_file).names) >= {field.name for field in FIELDS}
    except (pa.ArrowException, OSError):
        return False


def _row(tar: Path, name: str, members: dict[str, Member]) -> dict[str, Any]:
    image = image_of(members)
    if image is None:
        raise DroppedPairError("without_image")
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
        return caption_text(members["txt"].content)
    if "json" not in members:
        raise DroppedPairError("without_caption")
    try:
        details = json.loads(members["json"].content)
    except (ValueError, RecursionError) as error:
        raise DroppedPairError("unreadable_caption") from error
    texts: Iterable[Any] = (details.get(key) for key in CAPTION_KEYS) if isinstance(details, dict) else ()
    text = next((text for text in texts if isinstance(text, str)), None)
    if text is None:
        raise DroppedPairError("without_caption")
    return caption_text(text.encode("utf-8", errors="surrogatepass"))

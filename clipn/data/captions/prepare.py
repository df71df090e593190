"""The captions stage: a list of image addresses with their captions, from whichever source.

`captions.parquet` has one row per image that is to be fetched:

- `url`: an http(s) address or a local file; a relative path is relative to the folder of `captions.parquet`;
- `caption`: the text;
- `flaky`: whether the loopback server refuses the file once before it serves it (miniature world only).

For images that are in tars already, it also says where (`clipn.data.captions.webdataset`).
"""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from clipn.config import CaptionsParams, WorldParams
from clipn.data import miniature
from clipn.data.captions import tables, webdataset
from clipn.data.captions.folder import find_images, read_folder
from clipn.errors import DownloadFailed, InvalidParams, MissingInput
from clipn.utils.fetch import fetch
from clipn.utils.files import atomic_folder
from clipn.utils.progress import Progress, silent

FILE_NAME = "captions.parquet"
SCHEMA = pa.schema(
    [
        pa.field("url", pa.string(), nullable=False),
        pa.field("caption", pa.string(), nullable=False),
        pa.field("flaky", pa.bool_(), nullable=False),
    ]
)
NOT_AN_IMAGE = b"<!doctype html><title>Not found</title>This picture has moved.\n"


def prepare_captions(
    captions: CaptionsParams, world: WorldParams, out: Path, *, cache: Path, progress: Progress = silent
) -> dict[str, Any]:
    """Write `captions.parquet`, and for the miniature world the images beside it, to the folder `out`.

    Args:
        captions: the source and what to take of it.
        world: how the miniature world is drawn.
        out: the folder to write, whole or not at all.
        cache: where a fetched official list is kept.
        progress: called with the rows done and in all.

    Returns:
        the stage's report: source, and `counts` of rows in and out and of rows dropped by reason.

    Raises:
        InvalidParams: the shares of bad links add up to more than one.
        MissingInput: the table or all the local files that it names do not exist.
        InvalidData: the table cannot be read, lacks a column, or no row is left.
        DownloadFailed: the official list could not be fetched.
    """
    check_captions(captions)
    with atomic_folder(out) as folder:
        if captions.source == "symbols":
            rows, report = _draw_symbols(captions, world, folder, progress)
        elif captions.source == "table":
            rows, report = _read_table(captions)
        elif captions.source == "folder":
            rows, report = read_folder(Path(captions.path), captions.limit, progress)
        elif captions.source == "cc3m":
            rows, report = _read_cc3m(cache, captions.limit, progress)
        else:
            report = webdataset.index_tars(
                Path(captions.path), captions.pattern, captions.limit, folder / FILE_NAME, SCHEMA, progress
            )
            return {"source": captions.source, **report}
        table = pa.Table.from_pandas(rows.assign(flaky=rows.get("flaky", False)), schema=SCHEMA, preserve_index=False)
        pq.write_table(table.replace_schema_metadata(), folder / FILE_NAME)
    report["counts"]["out"] = len(rows)
    return {"source": captions.source, **report}


def check_captions(captions: CaptionsParams) -> None:
    """Check what can be checked before any long work.

    Raises:
        as `prepare_captions`.
    """
    if captions.source == "symbols":
        shares = captions.missing + captions.corrupt + captions.flaky
        if shares > 1:
            raise InvalidParams(f"captions: missing + corrupt + flaky is {shares:g}; it cannot be more than 1")
    elif captions.source == "table":
        tables.check(Path(captions.path))
    elif captions.source == "folder":
        find_images(Path(captions.path))
    elif captions.source == "webdataset":
        webdataset.find_tars(Path(captions.path), captions.pattern)
    elif (copy := _own_copy()) is not None:
        tables.check(copy, _cc3m()["columns"])


def _draw_symbols(
    captions: CaptionsParams, world: WorldParams, folder: Path, progress: Progress
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Draw the miniature world's training images, a given share of them missing or damaged."""
    # Evaluation sets are drawn from other streams of the same seed, so no picture is in both.
    rng = np.random.default_rng([world.seed, 1])
    symbols = [symbol for symbol in miniature.symbols() for _ in range(captions.images_per_symbol)]
    order = rng.permutation(len(symbols))[: captions.limit]
    total = len(order)
    missing, corrupt, flaky = _disjoint_shares(rng, total, captions.missing, captions.corrupt, captions.flaky)
    (folder / "images").mkdir()
    rows = []
    for i, index in enumerate(order):
        symbol = symbols[index]
        drawing = miniature.draw(symbol, rng, world.image_size, world.noise, world.rotation)
        name = f"images/{i:06d}.png"
        rows.append((name, miniature.caption(symbol, drawing, rng), i in flaky))
        if i not in missing:
            drawing.image.save(folder / name, compress_level=1)  # noise does not compress any further
        if i in corrupt:
            _damage(folder / name, as_text=bool(rng.integers(2)))
        progress(i + 1, total)
    report = {
        "counts": {"in": len(symbols), "dropped": {"over_limit": len(symbols) - total}},
        "made": {"missing": len(missing), "corrupt": len(corrupt), "flaky": len(flaky)},
    }
    return pd.DataFrame(rows, columns=SCHEMA.names), report


def _disjoint_shares(rng: np.random.Generator, total: int, *shares: float) -> list[frozenset[int]]:
    """For each share a random set of that part of range(total), no index in two of them."""
    ends = np.round(np.cumsum(shares) * total).astype(int)
    parts = np.split(rng.permutation(total), ends)[: len(shares)]
    return [frozenset(part.tolist()) for part in parts]


def _damage(image: Path, as_text: bool) -> None:
    """Turn a file into what dead links serve: a web page, or an image cut off in the middle."""
    data = image.read_bytes()
    image.write_bytes(NOT_AN_IMAGE if as_text else data[: len(data) // 2])


def _read_table(captions: CaptionsParams) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The rows of a table; the local files that it names have to lie where DVC watches them.

    Raises:
        InvalidParams: a local file lies outside of `captions.images`.
    """
    path = Path(captions.path)
    rows, report = _cleaned(tables.read(path), path, captions.limit)
    if report["local_files"]:
        # By their names: photographs that are links stay inside, since DVC follows links.
        folder = Path(os.path.abspath(captions.images))  # noqa: PTH100
        for address in filter(tables.is_local, rows["url"]):
            inside = Path(os.path.abspath(address)).is_relative_to(folder)  # noqa: PTH100
            if not inside or not folder.is_dir():
                raise InvalidParams(
                    f"captions.images is {captions.images}, and {path} names {address}, which lies outside of it; "
                    "name the folder of the photographs there, so that DVC notices when one changes"
                )
    return rows, report


def _read_cc3m(cache: Path, limit: int | None, progress: Progress) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The official list, fetched unless the environment names a copy."""
    source = _cc3m()
    path = _own_copy()
    if path is None:
        path = cache / "cc3m.tsv"
        try:
            fetch(source["address"], path, progress=progress)
        except DownloadFailed as error:
            raise DownloadFailed(
                f"{source['title']}: {error}, or name it in the environment variable {source['environment']} "
                f"(about the list: {source['home']})"
            ) from error
    rows, report = _cleaned(tables.read(path, source["columns"]), path, limit)
    return rows, report | {"in_expected": source["rows"]}


def _cleaned(table: tables.Table, path: Path, limit: int | None) -> tuple[pd.DataFrame, dict[str, Any]]:
    cleaned = tables.clean(table, path.parent, limit)
    report = {
        "counts": {"in": len(table.rows) + table.malformed, "dropped": cleaned.dropped},
        "local_files": cleaned.local,
        "local_files_missing": cleaned.missing,
    }
    return cleaned.rows, report


def _cc3m() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("cc3m.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)["cc3m"]


def _own_copy() -> Path | None:
    variable = _cc3m()["environment"]
    name = os.environ.get(variable)
    if name and not Path(name).is_file():
        raise MissingInput(f"{variable} names {name}, which does not exist; correct it, or unset it to fetch the list")
    return Path(name) if name else None

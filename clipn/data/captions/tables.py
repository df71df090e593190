"""Tables of image addresses and captions as people have them: TSV, CSV or Parquet, under many column names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from clipn.errors import InvalidData, MissingInput

# Accepted column names, in any case. Where a table has several, the first in this order is taken.
ADDRESS_NAMES = ("url", "image_url", "link", "image", "image_path", "path", "file", "filepath", "file_path", "filename")
CAPTION_NAMES = ("caption", "text", "title", "description", "alt", "alt_text", "sentence")

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_WEB = re.compile(r"https?://[^/]", re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """A table as read: text columns `url` and `caption`, and how many lines had the wrong number of cells."""

    rows: pd.DataFrame
    malformed: int


@dataclass(frozen=True)
class CleanTable:
    """Rows that can be asked for, and what became of the others."""

    rows: pd.DataFrame
    dropped: dict[str, int]
    """Reason → number of rows."""
    local: int
    """How many rows name a local file."""
    missing: int
    """How many of these files do not exist; the rows are kept."""


def read(path: Path, columns: Sequence[str] = ()) -> Table:
    """Read a `.tsv`, `.csv` (either may end in `.gz`) or `.parquet`.

    TSV is taken literally, as its registration says: quotation marks are part of the text. CSV is quoted.

    Args:
        path: the file; text is UTF-8.
        columns: all column names, for a text file that has no header line.

    Raises:
        MissingInput: there is no such file.
        InvalidData: another format, a damaged file, no rows, or no column that can be the address or the caption.
    """
    malformed = 0

    def count(_: pa_csv.InvalidRow) -> str:
        nonlocal malformed
        malformed += 1
        return "skip"

    rows = pa.Table.from_batches(_batches(path, columns, count)).to_pandas()
    return Table(rows, malformed)


def check(path: Path, columns: Sequence[str] = ()) -> None:
    """Raise what `read` would raise, as far as the file's beginning shows it."""
    next(_batches(path, columns, lambda _: "skip"))


def clean(table: Table, folder: Path, limit: int | None = None) -> CleanTable:
    """Drop rows that cannot be asked for or that stand twice, and make local paths absolute.

    A local path may point anywhere: the table is its user's own, and a file that is no image never gets
    into a shard.

    Args:
        table: what `read` gave.
        folder: what relative paths are relative to.
        limit: keep only the first so many good rows.

    Raises:
        MissingInput: rows name local files and not one of these exists.
        InvalidData: no row is left.
    """
    rows = table.rows.apply(lambda column: column.str.strip())
    dropped = {"malformed": table.malformed}

    def keep(good: pd.Series, reason: str) -> None:
        nonlocal rows
        dropped[reason] = int((~good).sum())
        rows = rows[good]

    keep(rows.fillna("").ne("").all(axis=1), "empty")
    web = rows["url"].str.match(_WEB)
    keep(web | ~rows["url"].str.match(_SCHEME), "unsupported_address")
    web = rows["url"].str.match(_WEB)
    rows = rows.assign(url=rows["url"].where(web, rows["url"].map(lambda url: str(folder.absolute() / url))))
    keep(~rows.duplicated(), "duplicate")
    keep(pd.Series(np.arange(len(rows)) < (limit or len(rows)), rows.index), "over_limit")
    if rows.empty:
        raise InvalidData(f"no usable row is left of the table in {folder}; dropped: {dropped}")

    files = rows["url"][~web[rows.index]]
    exists = {file: Path(file).is_file() for file in files.unique()}
    missing = int((~files.map(exists).astype(bool)).sum())
    if missing and missing == len(files):
        raise MissingInput(
            f"none of the {missing} local files that the table names exists, for example {files.iloc[0]}; "
            f"relative paths are relative to the table's folder, {folder}"
        )
    return CleanTable(rows.reset_index(drop=True), dropped, len(files), missing)


def is_local(address: str) -> bool:
    """Return whether a cleaned address names a local file."""
    return not _WEB.match(address)


def _batches(
    path: Path, columns: Sequence[str], on_malformed: Callable[[pa_csv.InvalidRow], str]
) -> Iterator[pa.RecordBatch]:
    """The address and the caption of all rows as columns `url` and `caption`."""
    if not path.is_file():
        raise MissingInput(f"{path} does not exist; captions.path has to name a table")
    schema = pa.schema([("url", pa.string()), ("caption", pa.string())])
    empty = True
    try:
        for batch in _parquet(path) if path.suffix.lower() == ".parquet" else _text(path, columns, on_malformed):
            if batch.num_rows:
                empty = False
                yield pa.RecordBatch.from_arrays([c.cast(pa.string()) for c in batch.columns], schema=schema)
    except (pa.ArrowException, OSError) as error:
        raise InvalidData(f"{path} cannot be read: {error}") from error
    if empty:
        raise InvalidData(f"{path} has no rows")


def _parquet(path: Path) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(columns=_find(path, file.schema_arrow.names))


def _text(
    path: Path, columns: Sequence[str], on_malformed: Callable[[pa_csv.InvalidRow], str]
) -> Iterator[pa.RecordBatch]:
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".tsv"):
        parse = partial(pa_csv.ParseOptions, delimiter="\t", quote_char=False)
    elif name.endswith(".csv"):
        parse = partial(pa_csv.ParseOptions, newlines_in_values=True)
    else:
        raise InvalidData(f"{path}: the name of a table has to end in .tsv, .csv, .tsv.gz, .csv.gz or .parquet")
    read = pa_csv.ReadOptions(column_names=list(columns) or None)
    with pa_csv.open_csv(_open(path), read, parse(invalid_row_handler=lambda _: "skip")) as reader:
        columns = _find(path, reader.schema.names)
    convert = pa_csv.ConvertOptions(include_columns=columns, column_types=dict.fromkeys(columns, pa.string()))
    with pa_csv.open_csv(_open(path), read, parse(invalid_row_handler=on_malformed), convert) as reader:
        yield from reader


def _open(path: Path) -> pa.NativeFile:
    return pa.input_stream(str(path), compression="gzip" if path.suffix.lower() == ".gz" else None)


def _find(path: Path, columns: Sequence[str]) -> list[str]:
    """The names of the address column and of the caption column."""
    by_lower = {name.strip().lower(): name for name in reversed(columns)}
    chosen = [next((by_lower[n] for n in names if n in by_lower), None) for names in (ADDRESS_NAMES, CAPTION_NAMES)]
    if None in chosen:
        raise InvalidData(
            f"{path} has the columns {', '.join(columns)}; it needs one for the image ({', '.join(ADDRESS_NAMES)}) "
            f"and one for the text ({', '.join(CAPTION_NAMES)})"
        )
    return [name for name in chosen if name is not None]

"""GB/s of reading training features from Parquet shards, beside lists of float16, in one run.

    python -m benchmarks.store_read [--rows 100000] [--dim 512]

The rows have a key, an image feature, a text feature and 13 token ids. Read are all columns of all row
groups, as matrices in memory, by one process from files that the operating system has in memory.

- store: `clipn.FeatureStore`, fixed binary columns, page checksums verified.
- store, checksums off: the same files by pyarrow alone.
- lists: `FixedSizeList` columns of float16, written and read with pyarrow's default options.

The three take turns, so that whatever else the machine does falls on all of them alike.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from clipn.features.store import (
    ROW_GROUP,
    FeatureBatch,
    FeatureMeta,
    FeatureStore,
    TokenLists,
    write_index,
    write_shard,
)

TOKENS = 13


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, options.rows, options.dim)
        bytes_read = options.rows * (2 * 2 * options.dim + 4 * TOKENS)
        readers: dict[str, Callable[[], int]] = {
            "store": lambda: read_store(FeatureStore.open(folder / "store")),
            "store, checksums off": lambda: read_binary(folder / "store" / "00000.parquet"),
            "lists": lambda: read_lists(folder / "lists.parquet", options.dim),
        }
        rates: dict[str, list[float]] = {reader: [] for reader in readers}
        for _ in range(1 + options.rounds):
            for reader, run in readers.items():
                start = time.perf_counter()
                if run() != options.rows:
                    raise RuntimeError(f"{reader} did not read all rows")
                rates[reader].append(bytes_read / (time.perf_counter() - start) / 1e9)
    show({reader: values[1:] for reader, values in rates.items()}, f"{options.rows} rows of {options.dim} numbers")


def write(folder: Path, rows: int, dim: int) -> None:
    rng = np.random.default_rng(0)
    keys = [f"{row:09d}" for row in range(rows)]
    image, text = (rng.normal(size=(rows, dim)).astype(np.float16) for _ in range(2))
    tokens = TokenLists(
        rng.integers(1, 49406, rows * TOKENS).astype(np.int32), np.arange(0, rows * TOKENS + 1, TOKENS, dtype=np.int64)
    )
    meta = FeatureMeta(dim=dim, backbone="random", preprocess="none", logit_scale=100.0, kind="training")
    with write_shard(folder / "store" / "00000.parquet", meta) as writer:
        writer.append(FeatureBatch(keys, image, text=text, tokens=tokens))
    write_index(folder / "store", [folder / "store" / "00000.parquet"])
    lists = pa.table(
        {
            "key": keys,
            "image": pa.FixedSizeListArray.from_arrays(pa.array(image.ravel()), dim),
            "text": pa.FixedSizeListArray.from_arrays(pa.array(text.ravel()), dim),
            "tokens": pa.ListArray.from_arrays(pa.array(tokens.offsets, pa.int32()), pa.array(tokens.values)),
        }
    )
    pq.write_table(lists, folder / "lists.parquet", row_group_size=ROW_GROUP)


def read_store(store: FeatureStore) -> int:
    return sum(len(batch.image) for batch in store.batches())


def read_binary(path: Path) -> int:
    file = pq.ParquetFile(path)
    rows = 0
    for group in range(file.num_row_groups):
        column = file.read_row_group(group)["image"].chunk(0)
        rows += len(np.frombuffer(column.buffers()[1], "<f2")) * 2 // column.type.byte_width
    return rows


def read_lists(path: Path, dim: int) -> int:
    file = pq.ParquetFile(path)
    rows = 0
    for group in range(file.num_row_groups):
        table = file.read_row_group(group)
        image, _ = (table[name].chunk(0).flatten().to_numpy().reshape(-1, dim) for name in ("image", "text"))
        rows += len(image)
    return rows


def show(rates: dict[str, list[float]], title: str) -> None:
    middle = {reader: statistics.median(values) for reader, values in rates.items()}
    table = Table("", "GB/s, median", "lowest", "highest", title=title)
    for reader, values in rates.items():
        table.add_row(reader, *(f"{value:.3f}" for value in (middle[reader], min(values), max(values))))
    console = Console(width=100)
    console.print(table)
    console.print(f"store / lists: {middle['store'] / middle['lists']:.1f} ×")


if __name__ == "__main__":
    main()

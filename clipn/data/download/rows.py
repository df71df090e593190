"""The captions file as the download stage reads it: millions of rows that stay columns until one is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clipn.data.download.server import LoopbackServer
from clipn.data.download.shards import Row
from clipn.errors import InvalidData, MissingInput


class CaptionRows(Sequence[Row]):
    """The rows of a captions file as `clipn.data.captions.prepare.prepare_captions` writes it.

    Attributes:
        files: the local files that rows name, in order.
        flaky: the indices into `files` that the loopback server refuses once.

    Raises:
        MissingInput: there is no such file.
        InvalidData: it is no captions file, or has no rows.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise MissingInput(f"{path} does not exist; run 'dvc repro captions' to make it")
        try:
            table = pq.read_table(path, columns=["url", "caption", "flaky"])
        except (pa.ArrowException, OSError) as error:
            raise InvalidData(f"{path} is no captions file: {error}") from error
        if not table.num_rows:
            raise InvalidData(f"{path} has no rows")
        self.urls, self.captions = table["url"], table["caption"]
        is_web = pc.match_substring_regex(self.urls, "^https?://[^/]", ignore_case=True).to_numpy()
        self._local = np.flatnonzero(~is_web)
        self.files: Sequence[Path] = _Files(path.parent, self.urls.take(pa.array(self._local)))
        self.flaky = frozenset(np.flatnonzero(table["flaky"].to_numpy()[self._local]).tolist())

    def addresses(self, server: LoopbackServer) -> pa.ChunkedArray:
        """Return where each row's image is fetched from, with `server` serving `files`."""
        if not len(self._local):
            return self.urls
        addresses = self.urls.to_pylist()
        for j, i in enumerate(self._local.tolist()):
            addresses[i] = server.address(j)
        return pa.chunked_array([pa.array(addresses, pa.string())])

    def __len__(self) -> int:
        return len(self.urls)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        return Row(self.urls[index].as_py(), self.captions[index].as_py())


class _Files(Sequence[Path]):
    """Paths that are made when they are asked for."""

    def __init__(self, folder: Path, names: pa.ChunkedArray) -> None:
        self._folder = folder
        self._names = names

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Path]: ...
    def __getitem__(self, index: int | slice) -> Path | Sequence[Path]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        return self._folder / self._names[index].as_py()

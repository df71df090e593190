"""The work folder of a download, where an interrupted run goes on."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipn import shards
from clipn.config import DownloadParams
from clipn.errors import InvalidData, MissingInput
from clipn.io import read_json, write_json
from clipn.manifest import SUCCESS, Entry
from clipn.shards import Layout, Row

LOST = "lost"
"""Status of the rows of a shard that never arrived."""
CORRUPT = "corrupt"
"""Status of the rows of a shard that arrived damaged."""


@dataclass
class DownloadWork:
    """What has been fetched so far: `raw` is img2dataset's folder, `accepted` has the shards that passed the check."""

    folder: Path
    layout: Layout
    rows: Sequence[Row]
    params: DownloadParams
    damage: dict[int, str] = field(default_factory=dict)
    """Shard → what is wrong with it."""

    @property
    def raw(self) -> Path:
        return self.folder / "raw"

    @property
    def accepted(self) -> Path:
        return self.folder / "accepted"

    def open(self, fingerprint: dict[str, Any]) -> None:
        """Go on with an earlier run of equal fingerprint, or start anew.

        Accepted shards with too few images are fetched again: after a failure of the network they would
        repeat it for ever.
        """
        file = self.folder / "fingerprint.json"
        if not file.is_file() or read_json(file) != fingerprint:
            shutil.rmtree(self.folder, ignore_errors=True)
        for folder in (self.raw, self.accepted):
            folder.mkdir(parents=True, exist_ok=True)
        write_json(file, fingerprint)
        self.verify()
        for shard in set(self.layout.shards) - set(self.missing()):
            if success_share(shards.read_accepted(self.accepted, shard)) < self.params.min_success:
                shards.discard(self.raw, self.accepted, shard)

    def missing(self) -> list[int]:
        """The shards that have not been accepted."""
        return [shard for shard in self.layout.shards if not shards.is_accepted(self.accepted, shard)]

    def done(self) -> int:
        """The number of rows in shards that img2dataset thinks done."""
        done = (shard for shard in self.layout.shards if shards.is_done(self.raw, shard))
        return sum(len(self.layout.rows_of(shard)) for shard in done)

    def verify(self) -> None:
        """Accept the shards that are whole, and discard what there is of all others."""
        for shard in self.missing():
            if shards.is_done(self.raw, shard):
                keyed = {self.layout.key(i): self.rows[i] for i in self.layout.rows_of(shard)}
                try:
                    shards.accept(self.raw, self.accepted, shard, keyed, self.params.encode_format)
                    continue
                except (InvalidData, MissingInput) as error:
                    self.damage[shard] = str(error)
            shards.discard(self.raw, self.accepted, shard)

    def entries(self) -> list[Entry]:
        """The whole manifest; rows of shards that are still missing are lost or corrupt."""
        missing = set(self.missing())
        entries: list[Entry] = []
        for shard in self.layout.shards:
            if shard not in missing:
                entries += shards.read_accepted(self.accepted, shard)
                continue
            status, error = LOST, "the shard did not arrive"
            if shard in self.damage:
                status, error = CORRUPT, self.damage[shard]
            for i in self.layout.rows_of(shard):
                row = self.rows[i]
                entries.append(Entry(self.layout.key(i), row.url, status, caption=row.caption, error=error))
        return entries


def success_share(entries: Sequence[Entry]) -> float:
    """The share of entries with an image."""
    return sum(entry.status == SUCCESS for entry in entries) / len(entries)

"""The work folder of a download, where an interrupted run goes on.

raw/        what img2dataset writes; a shard's data leave it when they pass the check
accepted/   the shards that passed, each as a tar and its part of the manifest
retry/      links that are being tried again: which, and what img2dataset writes of them
"""

from __future__ import annotations

import contextlib
import math
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from clipn.config import DownloadParams
from clipn.data import manifest
from clipn.data.download import failures, shards
from clipn.data.download.shards import Layout, Row, Target
from clipn.data.manifest import SUCCESS, Entry
from clipn.errors import InvalidData, MissingInput
from clipn.utils.files import read_json, write_json
from clipn.utils.progress import Progress, silent

LOST = "lost"
"""Status of the rows of a shard that never arrived."""
CORRUPT = "corrupt"
"""Status of the rows of a shard that arrived damaged."""


@dataclass
class Tally:
    """What became of all rows."""

    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    """Reason of `clipn.data.download.failures` → rows that have no image for it."""
    bytes: int = 0

    @property
    def share(self) -> float:
        """The share of rows with an image."""
        return self.statuses[SUCCESS] / max(self.statuses.total(), 1)


@dataclass
class DownloadWork:
    """What has been fetched so far."""

    folder: Path
    layout: Layout
    rows: Sequence[Row]
    params: DownloadParams
    damage: dict[int, str] = field(default_factory=dict)
    """Shard → what is wrong with it."""
    _seen: set[int] = field(default_factory=set)
    """Shards that were looked at while img2dataset was at work."""

    @property
    def raw(self) -> Path:
        return self.folder / "raw"

    @property
    def accepted(self) -> Path:
        return self.folder / "accepted"

    @property
    def retry(self) -> Path:
        return self.folder / "retry"

    def open(self, fingerprint: dict[str, Any], progress: Progress = silent) -> None:
        """Go on with an earlier run of equal fingerprint, or start anew.

        Every accepted tar is read and compared with its part of the manifest; damaged ones are fetched
        again. So are those where failures that would not pass leave too few images, since after a
        captive portal or a broken resolver they would repeat that for ever.

        Args:
            fingerprint: of everything that shapes the shards.
            progress: called with the rows looked at, which takes minutes for millions of images, and in all.
        """
        file = self.folder / "fingerprint.json"
        if not _equals(file, fingerprint):
            shutil.rmtree(self.folder, ignore_errors=True)
        for folder in (self.raw, self.accepted):
            folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.accepted.glob(".*.partial*"):
            leftover.unlink()
        write_json(file, fingerprint)
        self.verify()
        self.end_retry()
        for done, shard in enumerate(sorted(set(self.layout.shards) - set(self.missing()))):
            try:
                shards.check(self.accepted, shard)
                hopeless = self._hopeless(shard)
            except InvalidData as error:
                self.damage[shard], hopeless = str(error), True
            if hopeless:
                shards.discard(self.raw, self.accepted, shard)
            progress(min((done + 1) * self.layout.samples_per_shard, len(self.rows)), len(self.rows))

    def missing(self) -> list[int]:
        """Return the shards that have not been accepted."""
        return [shard for shard in self.layout.shards if not shards.is_accepted(self.accepted, shard)]

    def verify(self) -> None:
        """Accept the shards that are whole, and discard what there is of all others."""
        for shard in self.missing():
            if shards.is_done(self.raw, shard):
                try:
                    self._accept(shard)
                    continue
                except (InvalidData, MissingInput) as error:
                    self.damage[shard] = str(error)
            shards.discard(self.raw, self.accepted, shard)

    def accept_done(self) -> int:
        """Accept whole shards while img2dataset is at work. Returns how many shards it thinks done."""
        done = shards.done(self.raw)
        for shard in sorted(done - self._seen):
            self._seen.add(shard)
            if not shards.is_accepted(self.accepted, shard):
                # What is wrong now may be half written; `verify` looks at it again.
                with contextlib.suppress(InvalidData, MissingInput):
                    self._accept(shard)
        return len(done)

    def transient(self) -> list[int]:
        """Return the rows of accepted shards that failed for a reason that may pass."""
        rows = []
        for shard in set(self.layout.shards) - set(self.missing()):
            messages = self._part(shard)["error"].to_pylist()
            pairs = zip(self.layout.rows_of(shard), messages, strict=True)
            rows += [i for i, message in pairs if message is not None and _may_pass(message)]
        return sorted(rows)

    def begin_retry(self, links: Sequence[int], processes: int) -> Layout:
        """Make room for trying these rows again, in about as many shards as there are processes."""
        shutil.rmtree(self.retry, ignore_errors=True)
        (self.retry / "raw").mkdir(parents=True)
        per_shard = min(self.params.samples_per_shard, max(2, math.ceil(len(links) / processes)))
        write_json(self.retry / "links.json", {"rows": list(links), "samples_per_shard": per_shard})
        return Layout(len(links), per_shard)

    def end_retry(self) -> None:
        """Merge what came of the links, and remove the rest."""
        with contextlib.suppress(MissingInput, InvalidData):  # without the list, these links stay as they were
            plan = read_json(self.retry / "links.json")
            layout = Layout(len(plan["rows"]), plan["samples_per_shard"])
            for shard in layout.shards:
                self._merge(shard, {layout.key(j): self.target(plan["rows"][j]) for j in layout.rows_of(shard)})
        shutil.rmtree(self.retry, ignore_errors=True)

    def tables(self) -> Iterator[pa.Table]:
        """Yield the parts of the manifest in order; rows of shards that are still missing are lost or corrupt."""
        missing = set(self.missing())
        for shard in self.layout.shards:
            yield self._missing_part(shard) if shard in missing else self._part(shard)

    def tars(self) -> list[Path]:
        """Return the accepted tars in order."""
        missing = set(self.missing())
        return [self.accepted / f"{shards.name(shard)}.tar" for shard in self.layout.shards if shard not in missing]

    def tally(self) -> Tally:
        """Count what became of all rows."""
        tally = Tally()
        for part in self.tables():
            statuses, messages = part["status"].to_pylist(), part["error"].to_pylist()
            tally.statuses.update(statuses)
            tally.reasons.update(
                status if status in (LOST, CORRUPT) else failures.reason(message or "")
                for status, message in zip(statuses, messages, strict=True)
                if status != SUCCESS
            )
            tally.bytes += sum(part["bytes"].drop_null().to_pylist())
        return tally

    def target(self, i: int) -> Target:
        """Where the image of row `i` belongs."""
        return Target(self.layout.key(i), i // self.layout.samples_per_shard, self.rows[i])

    def _accept(self, shard: int) -> None:
        targets = {self.layout.key(i): self.target(i) for i in self.layout.rows_of(shard)}
        shards.accept(
            self.raw, self.accepted, shard, shards.read_raw(self.raw, shard, targets, self.params.encode_format)
        )

    def _merge(self, retry_shard: int, targets: dict[str, Target]) -> None:
        try:
            fetched = shards.read_raw(self.retry / "raw", retry_shard, targets, self.params.encode_format)
        except (InvalidData, MissingInput):
            return  # these links stay as they were
        shard_of = {target.key: target.shard for target in targets.values()}
        for shard, items in groupby(fetched, key=lambda item: shard_of[item.entry.key]):
            if shards.is_accepted(self.accepted, shard):
                try:
                    shards.merge(self.accepted, shard, list(items))
                except InvalidData as error:
                    self.damage[shard] = str(error)
                    shards.discard(self.raw, self.accepted, shard)

    def _part(self, shard: int) -> pa.Table:
        return manifest.read_table(self.accepted / f"{shards.name(shard)}.parquet")

    def _missing_part(self, shard: int) -> pa.Table:
        status, error = LOST, "the shard did not arrive"
        if shard in self.damage:
            status, error = CORRUPT, self.damage[shard]
        targets = map(self.target, self.layout.rows_of(shard))
        return manifest.table([Entry(t.key, t.row.url, status, caption=t.row.caption, error=error) for t in targets])

    def _hopeless(self, shard: int) -> bool:
        """Whether even with all transient failures mended too few images are left."""
        messages = self._part(shard)["error"].to_pylist()
        lasting = sum(message is not None and not _may_pass(message) for message in messages)
        return 1 - lasting / len(messages) < self.params.min_success


def _may_pass(message: str) -> bool:
    return failures.is_transient(failures.reason(message))


def _equals(file: Path, fingerprint: dict[str, Any]) -> bool:
    try:
        return read_json(file) == fingerprint
    except (MissingInput, InvalidData):
        return False

"""Reads the scores behind the metrics of a benchmark, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clipn import paths
from clipn.errors import InvalidData, NonFinite
from clipn.evaluation.results.benchmark import BenchmarkMetrics
from clipn.report.inputs.metrics import path_of


@dataclass(frozen=True)
class Scores:
    """Scores of one method in one run, higher for in-distribution: float32 [images], and of each OOD set [images]."""

    id: NDArray[np.float32]
    ood: dict[str, NDArray[np.float32]]

    @property
    def together(self) -> NDArray[np.float32]:
        """Return the scores of all OOD sets one after another."""
        return np.concatenate(list(self.ood.values()))


def read(root: Path, runs: Sequence[BenchmarkMetrics]) -> list[dict[str, Scores]]:
    """Read `data/scores/<benchmark>/<model>.parquet` of runs of one benchmark: of each, method → its scores.

    Raises:
        InvalidData: a file is missing or no Parquet, lacks a set or a method of its run, or lists other images than
            the first, so that scores could not be compared image by image.
        NonFinite: a score is NaN or infinite.
    """
    scores, first = [], None
    for run in runs:
        path = path_of(root / paths.SCORES / run.benchmark, run.model, ".parquet")
        table = _read_table(path, run)
        images = table.select(["set", "key"]).combine_chunks()
        if first is not None and not images.equals(first):
            raise InvalidData(f"{path} lists other images than {runs[0].model}.parquet; run 'dvc repro'")
        first = images
        scores.append(_scores(path, run, table))
    return scores


def _read_table(path: Path, run: BenchmarkMetrics) -> pa.Table:
    columns = ["set", "key", *run.methods]
    try:
        parquet = pq.ParquetFile(path)
        if missing := set(columns) - set(parquet.schema_arrow.names):
            raise InvalidData(f"{path} has no column {', '.join(sorted(missing))}; run 'dvc repro'")
        return parquet.read(columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise InvalidData(f"{path} cannot be read as Parquet: {error}; run 'dvc repro'") from error


def _scores(path: Path, run: BenchmarkMetrics, table: pa.Table) -> dict[str, Scores]:
    rows = {n: pc.fill_null(pc.equal(table["set"], n), False).to_numpy() for n in (run.id, *run.ood)}
    for name, chosen in rows.items():
        if not chosen.any():
            raise InvalidData(f"{path} has no rows of the set {name!r}; run 'dvc repro'")
    scores = {}
    for method in run.methods:
        if not pa.types.is_floating(table[method].type):
            raise InvalidData(f"{path}: {method} is a column of {table[method].type}, not of scores; run 'dvc repro'")
        column = table[method].to_numpy().astype(np.float32)
        bad = np.flatnonzero(~np.isfinite(column))
        if bad.size:
            raise NonFinite(f"{path}: {method} is {column[bad[0]]} in row {bad[0]}; look into 'evaluate' and rerun it")
        scores[method] = Scores(column[rows[run.id]], {name: column[rows[name]] for name in run.ood})
    return scores

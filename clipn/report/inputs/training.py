"""Reads the record of a training run, as DVCLive leaves it: a TSV for each metric."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from clipn import paths
from clipn.errors import InvalidData, NonFinite

LOSSES = ("loss_yes", "loss_no", "loss_tso", "loss")
CHECKS = ("auroc_ctw", "auroc_atd")


@dataclass(frozen=True)
class Curve:
    """A metric over the steps; both are float64 [rows]."""

    steps: NDArray[np.float64]
    values: NDArray[np.float64]


def read(root: Path, seed: int) -> dict[str, Curve]:
    """Read `reports/training/seed-<seed>/`: the losses and, where training looked at it, AUROC of the held-out check.

    Raises:
        InvalidData: a file is missing, lacks a column, holds no row, or a value is no number.
        NonFinite: a value is NaN or infinite.
    """
    folder = root / paths.TRAINING / f"seed-{seed}"
    if not folder.is_dir():
        raise InvalidData(f"{folder.parent} lacks {folder.name}, which train.seeds asks for; run 'dvc repro'")
    files = {name: folder / "plots" / "metrics" / f"{name}.tsv" for name in (*LOSSES, *CHECKS)}
    return {name: _curve(path, name) for name, path in files.items() if name in LOSSES or path.is_file()}


def _curve(path: Path, name: str) -> Curve:
    types = {"step": pa.float64(), name: pa.float64()}
    try:
        table = pacsv.read_csv(
            path,
            parse_options=pacsv.ParseOptions(delimiter="\t"),
            convert_options=pacsv.ConvertOptions(include_columns=list(types), column_types=types, null_values=[]),
        )
    except (pa.ArrowException, OSError) as error:
        raise InvalidData(f"{path} is no record of training: {error}; run 'dvc repro'") from error
    if not table.num_rows:
        raise InvalidData(f"{path} holds no training step; run 'dvc repro'")
    columns = [table[column].to_numpy() for column in types]
    for column, values in zip(types, columns, strict=True):
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            raise NonFinite(
                f"{path}: {column} is {values[bad[0]]} in line {bad[0] + 2}; look into 'train' and rerun it"
            )
    return Curve(*columns)

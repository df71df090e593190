from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipn.config import BenchmarkParams
from clipn.errors import InvalidData, NonFinite
from clipn.report.inputs import metrics, score_files
from clipn.utils.files import write_text

SMALL = BenchmarkParams(id="cats", ood=("dogs", "cars"))


def read(project: Path, *models: str) -> Sequence[dict[str, score_files.Scores]]:
    return score_files.read(project, [metrics.read_run(project, "small", SMALL, model) for model in models])


def test_scores_are_split_into_sets(project: Path) -> None:
    baselines, first = read(project, "baselines", "seed-0")
    assert (baselines.keys(), first.keys()) == ({"MSP"}, {"CLIPN-CTW"})
    everything = np.linspace(0, 1, 12, dtype=np.float32)
    np.testing.assert_array_equal(baselines["MSP"].id, everything[:4])
    np.testing.assert_array_equal(baselines["MSP"].ood["dogs"], everything[4:10])
    np.testing.assert_array_equal(baselines["MSP"].ood["cars"], everything[10:])
    np.testing.assert_array_equal(baselines["MSP"].together, everything[4:])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda t: t.drop_columns(["CLIPN-CTW"]), InvalidData, "has no column CLIPN-CTW"),
        (lambda t: t.drop_columns(["key"]), InvalidData, "has no column key"),
        (lambda t: t.slice(0, 10), InvalidData, "no rows of the set 'cars'"),
        (lambda t: t.set_column(4, "CLIPN-CTW", pa.array(["x"] * 12)), InvalidData, "is a column of string"),
        (lambda t: t.set_column(4, "CLIPN-CTW", pa.array([0.0] * 11 + [math.inf])), NonFinite, "is inf in row 11"),
        (lambda t: t.set_column(4, "CLIPN-CTW", pa.array([None] + [0.0] * 11)), NonFinite, "is nan in row 0"),
    ],
)
def test_wrong_scores_are_refused(
    project: Path, change: Callable[[pa.Table], pa.Table], error: type[Exception], message: str
) -> None:
    path = project / "data/scores/small/seed-0.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    with pytest.raises(error, match=message) as caught:
        read(project, "seed-0")
    assert "seed-0.parquet" in str(caught.value)


def test_scores_of_other_images_are_not_compared(project: Path) -> None:
    path = project / "data/scores/small/seed-1.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(1, "key", pa.array([f"{i:08d}" for i in range(1, 13)])), path)
    with pytest.raises(InvalidData, match=r"seed-1\.parquet lists other images than baselines\.parquet"):
        read(project, "baselines", "seed-0", "seed-1")


def test_what_is_missing_or_no_parquet_is_refused(project: Path) -> None:
    path = project / "data/scores/small/seed-0.parquet"
    write_text(path, "no Parquet")
    with pytest.raises(InvalidData, match=r"seed-0\.parquet cannot be read"):
        read(project, "seed-0")
    path.unlink()
    with pytest.raises(InvalidData, match=r"scores/small lacks seed-0\.parquet, which train\.seeds asks for"):
        read(project, "seed-0")

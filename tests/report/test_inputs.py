from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipn.config import BenchmarkParams
from clipn.errors import InvalidData, NonFinite
from clipn.io import write_json, write_text
from clipn.report import inputs

SMALL = BenchmarkParams(id="cats", ood=("dogs", "cars"))


def test_run_holds_what_the_file_says(project: Path) -> None:
    run = inputs.read_run(project, "small", SMALL, "seed-1")
    assert (run.seed, run.ood, run.images["dogs"]) == (1, ("dogs", "cars"), 6)
    assert run.methods["CLIPN-CTW"].ood["dogs"][run.fpr_key] == 0.4
    assert run.methods["CLIPN-CTW"].decision == inputs.Decision(0.75, {"dogs": 0.5, "cars": 0.5})
    assert run.methods["MSP"].decision is None


def test_missing_seed_is_named(project: Path) -> None:
    with pytest.raises(InvalidData, match=r"metrics/small lacks seed-7\.json"):
        inputs.read_run(project, "small", SMALL, "seed-7")


def test_runs_of_imported_models(project: Path, add_imported: Callable[[Path], None]) -> None:
    with pytest.raises(InvalidData, match=r"lacks imported-released\.json, which evaluate\.imported asks for"):
        inputs.read_run(project, "small", SMALL, "imported-released")
    add_imported(project)
    run = inputs.read_run(project, "small", SMALL, "imported-released")
    assert (run.model, run.seed, run.imported) == ("imported-released", None, "released")
    assert inputs.read_scores(project, run).keys() == {"CLIPN-CTW"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("templates"), "templates: "),
        (lambda v: v.update(fpr_convention="own"), "fpr_convention: "),
        (lambda v: v.update(seed=2), "not .*'small', 'cats'"),
        (lambda v: v.update(ood=["dogs"]), "not .*'small', 'cats'"),
        (lambda v: v["images"].pop("cars"), "'cars'"),
        (lambda v: v["methods"]["MSP"]["ood"].pop("cars"), r"methods\.MSP\.ood\.cars has no auroc"),
        (lambda v: v["methods"]["MSP"]["ood"]["dogs"].update(auroc=71.0), r"methods\.MSP\.ood\.dogs\.auroc: .*1"),
        (lambda v: v["methods"]["MSP"]["ood"]["dogs"].pop("fpr95_id_interpolated"), "has no fpr95_id_interpolated"),
        (lambda v: v["methods"]["CLIPN-CTW"]["decision"]["ood_refused"].pop("dogs"), "ood_refused has no dogs"),
        (lambda v: v.update(methods={}), "methods: "),
    ],
)
def test_wrong_metrics_are_refused_by_field(
    project: Path, metrics: Callable[..., dict[str, Any]], change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    values = metrics(0)
    change(values)
    write_json(project / "reports/metrics/small/seed-0.json", values)
    with pytest.raises(InvalidData, match=message) as caught:
        inputs.read_run(project, "small", SMALL, "seed-0")
    assert "seed-0.json" in str(caught.value)


def test_non_finite_metric_is_named(project: Path) -> None:
    path = project / "reports/metrics/small/seed-0.json"
    path.write_text(path.read_text().replace("0.92", "NaN"))
    with pytest.raises(NonFinite, match=r"seed-0\.json: methods\.MSP\.ood\.dogs\.auroc is nan"):
        inputs.read_run(project, "small", SMALL, "seed-0")


def test_scores_are_split_into_id_and_ood(project: Path) -> None:
    run = inputs.read_run(project, "small", SMALL, "seed-0")
    scores = inputs.read_scores(project, run)
    assert scores.keys() == {"MSP", "CLIPN-CTW"}
    everything = np.linspace(0, 1, 12, dtype=np.float32)
    np.testing.assert_array_equal(scores["MSP"].id, everything[:4])
    np.testing.assert_array_equal(scores["MSP"].ood, everything[4:])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda t: t.drop_columns(["MSP"]), InvalidData, "has no column MSP"),
        (lambda t: t.slice(0, 10), InvalidData, "no rows of the set 'cars'"),
        (lambda t: t.set_column(5, "MSP", pa.array(["x"] * 12)), InvalidData, "MSP is a column of string"),
        (lambda t: t.set_column(5, "MSP", pa.array([0.0] * 11 + [math.inf])), NonFinite, "MSP is inf in row 11"),
        (lambda t: t.set_column(5, "MSP", pa.array([None] + [0.0] * 11)), NonFinite, "MSP is nan in row 0"),
    ],
)
def test_wrong_scores_are_refused(
    project: Path, change: Callable[[pa.Table], pa.Table], error: type[Exception], message: str
) -> None:
    path = project / "data/scores/small/seed-0.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    with pytest.raises(error, match=message) as caught:
        inputs.read_scores(project, inputs.read_run(project, "small", SMALL, "seed-0"))
    assert "seed-0.parquet" in str(caught.value)


def test_scores_that_are_no_parquet_are_refused(project: Path) -> None:
    write_text(project / "data/scores/small/seed-0.parquet", "no Parquet")
    with pytest.raises(InvalidData, match=r"seed-0\.parquet cannot be read"):
        inputs.read_scores(project, inputs.read_run(project, "small", SMALL, "seed-0"))


def test_stages_are_those_that_were_asked_for_in_that_order(project: Path) -> None:
    write_json(project / "reports/stages/train-0.json", {"seconds": {"total": 1}, "counts": {"steps": 5}})
    stages = inputs.read_stages(project, ["captions", "download", "backbone", "train-0"])
    assert [stage.name for stage in stages] == ["captions", "download", "train-0"]
    assert [stage.seconds for stage in stages] == [1.5, 4.5, 1.0]
    assert stages[1].counts == {"in": 1200, "out": 1190, "shards": 3}
    assert stages[1].dropped == {"http_404": 10}


@pytest.mark.parametrize(
    "values", [{"counts": {}}, {"seconds": {"fit": 1}}, {"seconds": 3, "counts": {}}, [], {"seconds": {}, "counts": 3}]
)
def test_wrong_stage_reports_are_refused(tmp_path: Path, values: Any) -> None:
    write_json(tmp_path / "reports/stages/train-0.json", values)
    with pytest.raises(InvalidData, match=r"train-0\.json"):
        inputs.read_stages(tmp_path, ["train-0"])


def test_non_finite_seconds_are_named(tmp_path: Path) -> None:
    write_text(tmp_path / "reports/stages/train-0.json", '{"seconds": {"fit": Infinity}, "counts": {}}')
    with pytest.raises(NonFinite, match=r"train-0\.json: seconds\.fit is inf"):
        inputs.read_stages(tmp_path, ["train-0"])

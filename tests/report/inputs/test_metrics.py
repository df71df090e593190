from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clipn.config import BenchmarkParams
from clipn.errors import InvalidData, NonFinite
from clipn.evaluation.results.benchmark import Decision
from clipn.report.inputs import metrics as inputs
from clipn.utils.files import write_json

SMALL = BenchmarkParams(id="cats", ood=("dogs", "cars"))


def test_run_holds_what_the_file_says(project: Path) -> None:
    run = inputs.read_run(project, "small", SMALL, "seed-1")
    assert (run.seed, run.ood, run.images["dogs"]) == (1, ("dogs", "cars"), 6)
    ctw = run.methods["CLIPN-CTW"]
    assert ctw.ood["dogs"].fpr95_id_interpolated == 0.4
    assert ctw.ood["dogs"].fpr95_ood_first == pytest.approx(0.42)
    assert ctw.average.auroc == pytest.approx(0.8)
    assert ctw.needs == {"yes", "no"}
    assert ctw.decision == Decision(0.75, {"dogs": 0.5, "cars": 0.5}, 0.25)
    assert run.calibration is not None
    assert [entry.share for entry in run.calibration.bins] == [0.5, 0.5]


def test_baselines_have_a_file_of_their_own(project: Path) -> None:
    run = inputs.read_run(project, "small", SMALL, "baselines")
    assert (run.model, run.seed, run.imported) == ("baselines", None, None)
    assert run.methods.keys() == {"MSP"}
    assert run.methods["MSP"].decision is None
    assert run.skipped["1-NN"].startswith("needs ID images")
    (project / "reports/metrics/small/baselines.json").unlink()
    with pytest.raises(InvalidData, match=r"metrics/small lacks baselines\.json; run 'dvc repro'"):
        inputs.read_run(project, "small", SMALL, "baselines")


def test_missing_seed_is_named(project: Path) -> None:
    with pytest.raises(InvalidData, match=r"metrics/small lacks seed-7\.json, which train\.seeds asks for"):
        inputs.read_run(project, "small", SMALL, "seed-7")


def test_runs_of_imported_models(project: Path, add_imported: Callable[[Path], None]) -> None:
    with pytest.raises(InvalidData, match=r"lacks imported-released\.json, which evaluate\.imported asks for"):
        inputs.read_run(project, "small", SMALL, "imported-released")
    add_imported(project)
    run = inputs.read_run(project, "small", SMALL, "imported-released")
    assert (run.model, run.seed, run.imported) == ("imported-released", None, "released")


def test_backbones_without_names_have_no_zero_shot_accuracy(project: Path, metrics: Callable[..., Any]) -> None:
    write_json(
        project / "reports/metrics/small/baselines.json", {**metrics(None), "id_accuracy": None, "calibration": None}
    )
    run = inputs.read_run(project, "small", SMALL, "baselines")
    assert (run.id_accuracy, run.calibration) == (None, None)


CTW = "CLIPN-CTW"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("templates"), "templates: "),
        (lambda v: v.pop("skipped"), "skipped: "),
        (lambda v: v.pop("calibration"), "calibration: "),
        (lambda v: v["calibration"].pop("error"), r"calibration\.error: "),
        (lambda v: v.update(fpr_convention="own"), "fpr_convention: "),
        (lambda v: v.update(seed=2), "is of the model seed-2, not seed-0"),
        (lambda v: v.update(ood=["dogs"]), "not .*'small', 'cats'"),
        (lambda v: v["images"].pop("cars"), "images has no number for the set 'cars'"),
        (lambda v: v["left_out"].pop("cars"), "left_out has no number for the set 'cars'"),
        (lambda v: v.update(leave_out="all"), "leave_out: "),
        (lambda v: v["methods"][CTW]["ood"].pop("cars"), r"methods\.CLIPN-CTW\.ood has no cars"),
        (lambda v: v["methods"][CTW]["ood"]["dogs"].update(auroc=71.0), r"CLIPN-CTW\.ood\.dogs\.auroc: .*1"),
        (lambda v: v["methods"][CTW]["ood"]["dogs"].pop("fpr95_ood_first"), r"ood\.dogs\.fpr95_ood_first: "),
        (lambda v: v["methods"][CTW]["average"].pop("auroc_low"), r"average\.auroc_low: "),
        (
            lambda v: v["methods"][CTW]["average"].update(auroc=0.5),
            r"average\.auroc is 0\.5, but the sets' mean",
        ),
        (lambda v: v["methods"][CTW].pop("id_accuracy"), r"CLIPN-CTW\.id_accuracy: "),
        (lambda v: v["methods"][CTW].update(needs=["luck"]), r"CLIPN-CTW\.needs"),
        (lambda v: v["methods"][CTW].update(needs=["yes"]), r"CLIPN-CTW\.trained is True, but it needs yes"),
        (lambda v: v["methods"][CTW]["decision"]["ood_refused"].pop("dogs"), "ood_refused has no dogs"),
        (lambda v: v["methods"][CTW]["decision"].pop("calibration_error"), r"decision\.calibration_error: "),
        (
            lambda v: v["methods"][CTW].update(trained=False, needs=["yes"]),
            'CLIPN-CTW does not use the "No" text encoder',
        ),
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


def test_trained_methods_are_no_baselines(project: Path, metrics: Callable[..., dict[str, Any]]) -> None:
    values = metrics(None)
    values["methods"] |= metrics(0)["methods"]
    write_json(project / "reports/metrics/small/baselines.json", values)
    with pytest.raises(InvalidData, match=r'baselines\.json: CLIPN-CTW uses the "No" text encoder'):
        inputs.read_run(project, "small", SMALL, "baselines")


def test_sums_of_shares_may_exceed_one_by_rounding(project: Path, metrics: Callable[..., dict[str, Any]]) -> None:
    values = metrics(0)
    values["calibration"]["bins"][0]["share"] = 1 + 2e-16
    write_json(project / "reports/metrics/small/seed-0.json", values)
    assert inputs.read_run(project, "small", SMALL, "seed-0").seed == 0


def test_non_finite_metric_is_named(project: Path) -> None:
    path = project / "reports/metrics/small/baselines.json"
    path.write_text(path.read_text().replace("0.92,", "NaN,"))
    with pytest.raises(NonFinite, match=r"baselines\.json: methods\.MSP\.ood\.dogs\.auroc is nan"):
        inputs.read_run(project, "small", SMALL, "baselines")

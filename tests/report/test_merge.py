from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from clipn.errors import InvalidData
from clipn.evaluation.results.benchmark import BenchmarkMetrics
from clipn.report import merge
from clipn.report.summary import BenchmarkSummary, Spread
from tests.report.made_up import measured

Metrics = Callable[..., dict[str, Any]]


def runs(*values: dict[str, Any]) -> list[BenchmarkMetrics]:
    return [BenchmarkMetrics(**v) for v in values]


def summarise(baselines: dict[str, Any], *seeds: dict[str, Any]) -> BenchmarkSummary:
    return merge.summarise(runs(baselines)[0], runs(*seeds))


@pytest.fixture
def small(metrics: Metrics) -> BenchmarkSummary:
    return summarise(metrics(None), metrics(0), metrics(1), metrics(2))


def test_trained_methods_spread_over_seeds_and_others_do_not(small: BenchmarkSummary) -> None:
    msp, ctw = small.methods
    assert (msp.name, msp.trained, ctw.name, ctw.trained) == ("MSP", False, "CLIPN-CTW", True)
    assert ctw.auroc["dogs"].values == (0.6, 0.7, 0.8)
    assert msp.auroc["dogs"].values == (0.92,)
    assert list(ctw.auroc) == ["dogs", "cars", "average"]
    assert small.seeds == (0, 1, 2)


def test_averages_are_those_of_each_seed(small: BenchmarkSummary) -> None:
    ctw = small.methods[1]
    assert ctw.auroc["average"].values == pytest.approx((0.75, 0.80, 0.85))
    assert ctw.auroc["average"].std == pytest.approx(0.05)
    assert ctw.fpr95["average"].values == pytest.approx((0.30, 0.25, 0.20))
    assert ctw.measures["aupr_in"]["dogs"].mean == pytest.approx(0.35)


def test_decisions_are_summed_up(small: BenchmarkSummary) -> None:
    msp, ctw = small.methods
    assert msp.decision is None
    assert ctw.decision is not None
    assert ctw.decision.id_kept.values == (0.5, 0.75, 1.0)
    assert ctw.decision.ood_refused["dogs"].mean == 0.5
    assert ctw.decision.calibration_error == Spread((0.25, 0.25, 0.25))


def test_what_a_benchmark_knows_comes_from_the_baselines(metrics: Metrics) -> None:
    baselines, first = metrics(None), metrics(0)
    first["id_accuracy"], first["templates"] = 0.5, "handcrafted"
    found = summarise(baselines, first)
    assert (found.id_accuracy, found.templates, found.trained_templates) == (0.75, "symbols", "handcrafted")
    assert found.calibration is not None
    assert list(found.skipped) == ["1-NN"]
    assert summarise(baselines, metrics(0)).trained_templates == ""


def test_methods_stand_in_the_order_of_groups_and_then_of_the_registry(metrics: Metrics) -> None:
    baselines, first = metrics(None), metrics(0)
    values = {"dogs": (0.5, 0.5), "cars": (0.5, 0.5)}
    for name, needs in (("k-NN", ["images"]), ("1-NN", ["images"]), ("Own", ["yes"]), ("MCM", ["yes"])):
        baselines["methods"][name] = measured(False, values, needs)
    first["methods"]["NegATD"] = measured(True, values, ["no", "words", "yes"])
    found = summarise(baselines, first)
    names = [method.name for method in found.methods]
    assert names == ["MSP", "MCM", "Own", "CLIPN-CTW", "1-NN", "k-NN", "NegATD"]


def test_either_side_may_have_no_method_but_not_both(metrics: Metrics) -> None:
    baselines, first = metrics(None), metrics(0)
    baselines["methods"] = {}
    assert [method.name for method in summarise(baselines, first).methods] == ["CLIPN-CTW"]
    assert [method.name for method in summarise(metrics(None), {**first, "methods": {}}).methods] == ["MSP"]
    nothing = summarise(baselines, {**first, "methods": {}})
    with pytest.raises(InvalidData, match=r"'small': no method was measured \(1-NN needs ID images"):
        merge.require_methods(nothing)


def test_imported_models_stand_at_the_end_of_their_group(metrics: Metrics, imported_metrics: dict[str, Any]) -> None:
    imported_metrics["skipped"] = {"NegATD": "needs a word list"}
    found = merge.summarise(runs(metrics(None))[0], runs(metrics(0), metrics(1)), runs(imported_metrics))
    assert [method.name for method in found.methods] == ["MSP", "CLIPN-CTW", "CLIPN-CTW (released)"]
    assert [method.name for method in found.own_methods] == ["MSP", "CLIPN-CTW"]
    released = found.by_name["CLIPN-CTW (released)"]
    assert (released.base, released.imported) == ("CLIPN-CTW", "released")
    assert released.auroc["average"].values == pytest.approx((0.85,))
    (model,) = found.imported
    assert (model.name, model.logit_scale, model.templates) == ("released", 100.0, "photo")
    assert list(found.skipped) == ["1-NN", "NegATD (released)"]


@pytest.mark.parametrize(("field", "value"), [("images", {"cats": 1}), ("fpr_convention", "ood-first")])
def test_an_imported_model_has_to_be_measured_alike(
    metrics: Metrics, imported_metrics: dict[str, Any], field: str, value: Any
) -> None:
    imported_metrics[field] = value
    with pytest.raises(InvalidData, match=rf"imported-released\.json: {field} is .* in baselines\.json"):
        merge.summarise(runs(metrics(None))[0], runs(metrics(0)), runs(imported_metrics))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["methods"].clear(), r"seed-1\.json and seed-0\.json do not share CLIPN-CTW"),
        (lambda v: v["methods"]["CLIPN-CTW"].update(needs=["no"]), r"seed-1\.json: methods\.CLIPN-CTW\.needs differs"),
        (lambda v: v.update(templates="clean"), r"seed-1\.json: templates is 'clean', but 'symbols' in seed-0\.json"),
        (lambda v: v.update(leave_out="id"), r"seed-1\.json: leave_out is 'id', but 'none' in seed-0\.json"),
        (lambda v: v["images"].update(dogs=5), r"seed-1\.json: images is "),
    ],
)
def test_seeds_that_do_not_belong_together_are_refused(
    metrics: Metrics, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    second = metrics(1)
    change(second)
    with pytest.raises(InvalidData, match=message):
        summarise(metrics(None), metrics(0), second)


def test_baselines_are_of_the_same_images_and_scale(metrics: Metrics) -> None:
    for field, value in (("images", {"cats": 1, "dogs": 1, "cars": 1}), ("logit_scale", 1.0), ("leave_out", "id")):
        with pytest.raises(InvalidData, match=rf"seed-0\.json: {field} is .* in baselines\.json"):
            summarise({**metrics(None), field: value}, metrics(0))


def test_some_names_are_taken(metrics: Metrics) -> None:
    with pytest.raises(InvalidData, match="no set can be called 'average'"):
        summarise({**metrics(None), "ood": ["average"]})

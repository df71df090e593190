from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import TypeAdapter

from clipn.errors import InvalidData
from clipn.report import summary
from clipn.report.inputs import Run
from clipn.report.summary import Spread

Metrics = Callable[..., dict[str, Any]]


def runs(*values: dict[str, Any]) -> list[Run]:
    return [TypeAdapter(Run).validate_python(v) for v in values]


@pytest.fixture
def small(metrics: Metrics) -> summary.BenchmarkSummary:
    return summary.summarise(runs(metrics(0), metrics(1), metrics(2)))


def test_std_is_that_of_a_sample() -> None:
    assert Spread((0.6, 0.7, 0.8)).mean == pytest.approx(0.7)
    assert Spread((0.6, 0.7, 0.8)).std == pytest.approx(0.1)  # sqrt((.01 + 0 + .01) / 2)
    assert Spread((0.6,)).std is None


def test_trained_methods_spread_over_seeds_and_others_do_not(small: summary.BenchmarkSummary) -> None:
    msp, ctw = small.methods
    assert (msp.name, ctw.name) == ("MSP", "CLIPN-CTW")  # without training first
    assert ctw.auroc["dogs"].values == (0.6, 0.7, 0.8)
    assert msp.auroc["dogs"].values == (0.92,)
    assert list(ctw.auroc) == ["dogs", "cars", "average"]


def test_average_is_taken_over_sets_within_each_seed(small: summary.BenchmarkSummary) -> None:
    ctw = small.methods[1]
    assert ctw.auroc["average"].values == pytest.approx((0.75, 0.80, 0.85))
    assert ctw.auroc["average"].std == pytest.approx(0.05)
    assert ctw.fpr95["average"].values == pytest.approx((0.30, 0.25, 0.20))


def test_decisions_are_summed_up(small: summary.BenchmarkSummary) -> None:
    msp, ctw = small.methods
    assert msp.decision is None
    assert ctw.decision is not None
    assert ctw.decision.id_kept.values == (0.5, 0.75, 1.0)
    assert ctw.decision.ood_refused["dogs"].mean == 0.5


def test_metrics_are_means_under_stable_keys(small: summary.BenchmarkSummary) -> None:
    assert summary.metrics([small]) == {
        "small": {
            "id_accuracy": 0.75,
            "MSP": {
                "auroc": {"dogs": 0.92, "cars": 0.7, "average": 0.81},
                "fpr95_id_interpolated": {"dogs": 0.2, "cars": 0.4, "average": 0.3},
            },
            "CLIPN-CTW": {
                "auroc": {"dogs": 0.7, "cars": 0.9, "average": 0.8},
                "fpr95_id_interpolated": {"dogs": 0.4, "cars": 0.1, "average": 0.25},
            },
        }
    }


def test_an_imported_model_follows_without_changing_the_verdict(
    metrics: Metrics, imported_metrics: dict[str, Any]
) -> None:
    imported_metrics["methods"]["CLIPN-CTW"]["ood"]["dogs"]["auroc"] = 1.0
    own = runs(metrics(0), metrics(1), metrics(2))
    found = summary.summarise(own, runs(imported_metrics))
    assert [method.name for method in found.methods] == ["MSP", "CLIPN-CTW", "CLIPN-CTW (released)"]
    assert [method.name for method in found.own_methods] == ["MSP", "CLIPN-CTW"]
    assert found.methods[2].auroc["average"] == Spread((0.95,))
    assert found.imported == (summary.ImportedModel("released", 100.0, "photo"),)
    _, best, verdict = summary.headline(found)
    assert best.startswith("Best average AUROC: CLIPN-CTW (released) with 95.00.")
    assert verdict == summary.headline(summary.summarise(own))[2]


@pytest.mark.parametrize(("field", "value"), [("images", {"cats": 1}), ("fpr_convention", "ood-first")])
def test_an_imported_model_has_to_be_measured_alike(
    metrics: Metrics, imported_metrics: dict[str, Any], field: str, value: Any
) -> None:
    imported_metrics[field] = value
    with pytest.raises(InvalidData, match=rf"imported-released\.json: {field} is .* in seed-0\.json"):
        summary.summarise(runs(metrics(0)), runs(imported_metrics))


def test_metrics_have_six_digits(metrics: Metrics) -> None:
    values = metrics(0)
    values["id_accuracy"] = 2 / 3
    assert summary.metrics([summary.summarise(runs(values))])["small"]["id_accuracy"] == 0.666667


def test_headline_says_who_won_on_each_measure(small: summary.BenchmarkSummary) -> None:
    measured, best, _ = summary.headline(small)
    assert measured == "4 images of cats (ID) against 8 images of 2 OOD sets. Zero-shot ID accuracy is 75.00 %."
    assert best == "Best average AUROC: MSP with 81.00. Lowest average FPR95: CLIPN-CTW with 25.00 ± 5.00."


def test_headline_calls_a_difference_within_the_spread_none(small: summary.BenchmarkSummary) -> None:
    verdict = summary.headline(small)[2]
    assert "CLIPN-CTW (80.00 ± 5.00). It loses to the best one without, MSP (81.00), by 1.00 points" in verdict
    assert "shows no difference" in verdict


@pytest.mark.parametrize(("auroc", "words"), [(0.99, "It loses to"), (0.10, "It beats")])
def test_headline_says_when_clipn_loses_and_when_it_wins(metrics: Metrics, auroc: float, words: str) -> None:
    values = [metrics(seed) for seed in (0, 1, 2)]
    for value in values:
        for ood in ("dogs", "cars"):
            value["methods"]["MSP"]["ood"][ood]["auroc"] = auroc
    verdict = summary.headline(summary.summarise(runs(*values)))[2]
    assert words in verdict
    assert "no difference" not in verdict


def test_headline_with_one_seed_and_one_set_admits_what_it_does_not_know(metrics: Metrics) -> None:
    one = summary.summarise(runs(metrics(0, ood=("cars",))))
    measured, _, verdict = summary.headline(one)
    assert "2 images of 1 OOD set." in measured
    assert "±" not in verdict
    assert verdict.endswith("by 20.00 points of average AUROC; with one seed, how far that would vary is unknown.")


def test_headline_without_the_no_encoder_compares_nothing(metrics: Metrics) -> None:
    values = metrics(0)
    del values["methods"]["CLIPN-CTW"]
    assert len(summary.headline(summary.summarise(runs(values)))) == 2


def _without_msp(values: dict[str, Any]) -> None:
    del values["methods"]["MSP"]


def _other_msp(values: dict[str, Any]) -> None:
    values["methods"]["MSP"]["ood"]["dogs"]["auroc"] = 0.9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_msp, r"seed-1\.json and seed-0\.json do not share MSP"),
        (_other_msp, r"seed-1\.json: MSP is not trained, yet its auroc on dogs is 0\.9, but 0\.92 in seed-0\.json"),
        (lambda v: v["methods"]["MSP"].update(trained=True), r"seed-1\.json: methods\.MSP\.trained"),
        (lambda v: v.update(templates="clean"), r"seed-1\.json: templates is 'clean', but 'symbols' in seed-0\.json"),
        (lambda v: v["images"].update(dogs=5), r"seed-1\.json: images is "),
    ],
)
def test_runs_that_do_not_belong_together_are_refused(
    metrics: Metrics, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    second = metrics(1)
    change(second)
    with pytest.raises(InvalidData, match=message):
        summary.summarise(runs(metrics(0), second))


def test_no_set_may_be_called_average(metrics: Metrics) -> None:
    values = metrics(0)
    values["ood"] = ["average"]
    with pytest.raises(InvalidData, match="average"):
        summary.summarise(runs(values))

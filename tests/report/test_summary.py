from __future__ import annotations

from dataclasses import replace

import pytest

from clipn.evaluation.results.benchmark import Calibration
from clipn.report import summary
from clipn.report.summary import GROUPS, Spread
from tests.report.made_up import TRAINED, benchmark, method


def test_std_is_that_of_a_sample() -> None:
    assert Spread((0.6, 0.7, 0.8)).mean == pytest.approx(0.7)
    assert Spread((0.6, 0.7, 0.8)).std == pytest.approx(0.1)  # sqrt((.01 + 0 + .01) / 2)
    assert Spread((0.6,)).std is None


def test_numbers_as_they_print() -> None:
    assert summary.percent(Spread((0.6, 0.7, 0.8))) == "70.00 ± 10.00"
    assert summary.percent(Spread((0.81,))) == "81.00"
    assert [summary.signed(points) for points in (1.2, -0.304, 0.0)] == ["+1.20", "−0.30", "+0.00"]


@pytest.mark.parametrize(
    ("needs", "place"),
    [
        ({"yes"}, 0),
        ({"yes", "no"}, 1),
        ({"yes", "words"}, 2),
        ({"images"}, 3),
        ({"yes", "images"}, 3),
        ({"images", "labels"}, 4),
        ({"yes", "no", "words"}, 5),
        ({"yes", "no", "images"}, 5),
        ({"yes", "words", "images"}, 5),
        ({"no", "images", "labels"}, 5),
    ],
)
def test_methods_are_grouped_by_what_they_need(needs: set[str], place: int) -> None:
    assert summary.group(frozenset(needs)) == GROUPS[place]


def test_best_is_that_of_the_highest_average() -> None:
    one, two = method("A", {"dogs": [0.9], "cars": [0.5]}), method("B", {"dogs": [0.8], "cars": [0.7]})
    assert summary.best([one, two]) is two
    assert summary.best([one, one]) is one


def test_metrics_are_means_under_stable_keys() -> None:
    found = benchmark(
        method("MSP", {"dogs": [0.92], "cars": [0.7]}, fpr95=0.25),
        method("CLIPN-CTW", {"dogs": [0.6, 0.8], "cars": [0.9, 0.9]}, TRAINED),
        seeds=(0, 1),
        id_accuracy=2 / 3,
        calibration=Calibration(0.125, 0.5, 0.625, ()),
    )
    fpr95 = {"dogs": 0.5, "cars": 0.5, "average": 0.5}
    assert summary.metrics([found]) == {
        "small": {
            "id_accuracy": 0.666667,
            "calibration_error": 0.125,
            "MSP": {
                "auroc": {"dogs": 0.92, "cars": 0.7, "average": 0.81},
                "fpr95_id_interpolated": dict.fromkeys(fpr95, 0.25),
            },
            "CLIPN-CTW": {"auroc": {"dogs": 0.7, "cars": 0.9, "average": 0.8}, "fpr95_id_interpolated": fpr95},
        }
    }


def test_headline_is_short() -> None:
    found = benchmark(
        method("MSP", {"dogs": [0.92], "cars": [0.7]}, fpr95=0.25),
        method("CLIPN-CTW", {"dogs": [0.6, 0.8], "cars": [0.9, 0.9]}, TRAINED),
        method("1-NN", {"dogs": [0.9], "cars": [0.9]}, frozenset({"images"})),
        seeds=(0, 1),
        id_accuracy=2 / 3,
    )
    assert summary.headline(found, ["CLIPN-CTW", "MSP"]) == {
        "fpr_convention": "id-interpolated",
        "id_accuracy": 0.6667,
        "CLIPN-CTW": {"auroc": 0.8, "fpr95": 0.5},
        "MSP": {"auroc": 0.81, "fpr95": 0.25},
    }
    assert "id_accuracy" not in summary.headline(replace(found, id_accuracy=None), [])


def test_metrics_without_class_names() -> None:
    found = benchmark(method("1-NN", {"dogs": [0.9]}, frozenset({"images"})), id_accuracy=None)
    assert summary.metrics([found])["small"].keys() == {"1-NN"}

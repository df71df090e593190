from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from clipn import metrics
from clipn.report import curves
from clipn.report.inputs.score_files import Scores
from tests.report.made_up import NAMES, TRAINED, benchmark, method


def scores(id_scores: list[float], ood_scores: list[float]) -> Scores:
    """With the OOD scores in two sets."""
    half = len(ood_scores) // 2
    parts = {"dogs": np.array(ood_scores[:half], np.float32), "cars": np.array(ood_scores[half:], np.float32)}
    return Scores(np.array(id_scores, np.float32), parts)


def test_roc_of_separable_scores_is_the_corner() -> None:
    fpr, tpr = curves.roc([scores([3, 4], [1, 2])])
    assert (fpr[0], tpr[0]) == (0, 0)
    np.testing.assert_array_equal(tpr[1:], 1)


def test_roc_known_answer() -> None:
    # From the highest score down: ID, OOD, ID, OOD. Steps: (0, ½), (½, ½), (½, 1), (1, 1).
    fpr, tpr = curves.roc([scores([4, 2], [3, 1])], points=6)  # grid 0, ¼, ½, ¾, 1 after the origin
    np.testing.assert_allclose(fpr, [0, 0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(tpr, [0, 0.5, 0.5, 1, 1, 1])


def test_roc_averages_seeds_at_equal_fpr_whatever_their_scale() -> None:
    good, bad = scores([3, 4], [1, 2]), scores([100, 200], [300, 400])
    fpr, tpr = curves.roc([good, bad], points=4)
    np.testing.assert_allclose(fpr, [0, 0, 0.5, 1])
    np.testing.assert_allclose(tpr, [0, 0.5, 0.5, 1])


def test_area_under_the_thinned_roc_is_the_auroc() -> None:
    rng = np.random.default_rng(0)
    both = scores(list(rng.normal(1, 1, 3000)), list(rng.normal(0, 1, 2000)))
    fpr, tpr = curves.roc([both])
    assert len(fpr) == 200
    assert np.trapezoid(tpr, fpr) == pytest.approx(metrics.auroc(both.id, both.together), abs=2e-3)


def test_histograms_share_bins_and_have_unit_area() -> None:
    rng = np.random.default_rng(0)
    both = scores(list(rng.normal(1, 1, 3000)), list(rng.normal(0, 1, 500)))
    h = curves.histogram(both)
    width = h.centres[1] - h.centres[0]
    assert len(h.centres) == len(h.id) == len(h.ood) == 40
    assert (h.id * width).sum() == pytest.approx(1)
    assert (h.ood * width).sum() == pytest.approx(1)


def test_histogram_known_answer() -> None:
    h = curves.histogram(scores([0.0] * 100 + [3.9] * 300, [0.0] * 400), bins=4)
    np.testing.assert_allclose(h.centres, np.array([0.5, 1.5, 2.5, 3.5]) * 0.975, rtol=1e-5)
    np.testing.assert_allclose(h.id * 0.975, [0.25, 0, 0, 0.75], rtol=1e-5)
    np.testing.assert_allclose(h.ood * 0.975, [1, 0, 0, 0], rtol=1e-5)


def test_an_extreme_score_does_not_widen_the_bins() -> None:
    h = curves.histogram(scores([1e6, *np.linspace(0, 1, 999)], list(np.linspace(0, 1, 1000))))
    assert h.centres[-1] < 1


def test_equal_scores_still_give_a_histogram() -> None:
    h = curves.histogram(scores([0.5] * 3, [0.5] * 2), bins=2)
    np.testing.assert_allclose(h.centres, [0.25, 0.75])
    np.testing.assert_allclose(h.id, h.ood)


def test_thin_averages_groups_and_leaves_short_series_alone() -> None:
    np.testing.assert_allclose(curves.thin(np.array([1.0, 3.0, 5.0, 7.0]), 2), [2, 6])
    np.testing.assert_allclose(curves.thin(np.array([1.0, 3.0]), 5), [1, 3])


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_files_hold_what_is_drawn() -> None:
    fpr = np.array([0.0, 1.0])
    rocs = {"MSP": (fpr, np.array([0.5, 1.0])), "MCM": (fpr, np.array([0.25, 1.0]))}
    assert curves.roc_csv(rocs) == "fpr,MSP,MCM\n0.0000,0.5000,0.2500\n1.0000,1.0000,1.0000\n"
    h = {"MSP": curves.Histogram(np.array([0.25, 0.75]), np.array([2.0, 0.0]), np.array([0.5, 1.5]))}
    assert [(r["set_kind"], r["bin_centre"], r["density"]) for r in rows(curves.histograms_csv(h))] == [
        ("ID", "0.25", "2"),
        ("ID", "0.75", "0"),
        ("OOD", "0.25", "0.5"),
        ("OOD", "0.75", "1.5"),
    ]


def test_auroc_csv_leaves_the_deviation_of_one_value_empty() -> None:
    small = benchmark(method("MSP", {"dogs": [0.5]}), method("CLIPN-CTW", {"dogs": [0.6, 0.7, 0.8]}, TRAINED))
    assert curves.average_csv([small]) == "method,auroc\nsmall: MSP,0.500000\nsmall: CLIPN-CTW,0.700000\n"
    assert curves.auroc_csv([small]) == (
        "benchmark,method,set,auroc_mean,auroc_std\n"
        "small,MSP,dogs,0.500000,\n"
        "small,MSP,average,0.500000,\n"
        "small,CLIPN-CTW,dogs,0.700000,0.100000\n"
        "small,CLIPN-CTW,average,0.700000,0.100000\n"
    )


def test_those_methods_are_drawn_that_were_asked_for_and_measured() -> None:
    measured = {name: i / 10 for i, name in enumerate("abcdefgh")}
    assert curves.drawn(("h", "x", "a"), measured) == ("h", "a")
    assert curves.drawn(("x", "y"), measured) == ("h", "g", "f", "e", "d", "c")
    assert curves.drawn(("x",), {"a": 0.5}) == ("a",)


def test_imported_models_are_drawn_with_their_method() -> None:
    imported = [
        method(f"{name} (x)", {"dogs": [0.5]}, TRAINED, base=name, imported="x") for name in ("CLIPN-CTW", "CLIPN-ATD")
    ]
    own = [method(name, {"dogs": [0.5]}, needs) for name, needs in (("MSP", NAMES), ("CLIPN-CTW", TRAINED))]
    assert curves.drawn_of(("CLIPN-CTW", "1-NN"), benchmark(*own, *imported)) == ("CLIPN-CTW", "CLIPN-CTW (x)")

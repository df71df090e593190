from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from clipn import metrics
from clipn.report import curves
from clipn.report.inputs import Scores
from clipn.report.summary import BenchmarkSummary, MethodSummary, Spread


def scores(id_scores: list[float], ood_scores: list[float]) -> Scores:
    return Scores(np.array(id_scores, np.float32), np.array(ood_scores, np.float32))


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
    both = Scores(rng.normal(1, 1, 3000).astype(np.float32), rng.normal(0, 1, 2000).astype(np.float32))
    fpr, tpr = curves.roc([both])
    assert len(fpr) == 200
    assert np.trapezoid(tpr, fpr) == pytest.approx(metrics.auroc(both.id, both.ood), abs=2e-3)


def test_histograms_share_bins_and_have_unit_area() -> None:
    rng = np.random.default_rng(0)
    both = Scores(rng.normal(1, 1, 3000).astype(np.float32), rng.normal(0, 1, 500).astype(np.float32))
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
    h = {("small", "MSP"): curves.Histogram(np.array([0.25, 0.75]), np.array([2.0, 0.0]), np.array([0.5, 1.5]))}
    assert [(r["set_kind"], r["bin_centre"], r["density"]) for r in rows(curves.histograms_csv(h))] == [
        ("ID", "0.25", "2"),
        ("ID", "0.75", "0"),
        ("OOD", "0.25", "0.5"),
        ("OOD", "0.75", "1.5"),
    ]


def test_auroc_csv_leaves_the_deviation_of_one_value_empty() -> None:
    spreads = {"dogs": Spread((0.6, 0.7, 0.8)), "average": Spread((0.5,))}
    benchmark = BenchmarkSummary(
        "small", "cats", ("dogs",), (0, 1, 2), "id-interpolated", "fpr95_id_interpolated", 0.5, 1.0, "symbols",
        {"cats": 1, "dogs": 1}, (MethodSummary("CLIPN-CTW", True, spreads, spreads, None),),
    )  # fmt: skip
    assert curves.average_csv([benchmark]) == "method,auroc\nsmall: CLIPN-CTW,0.500000\n"
    assert curves.auroc_csv([benchmark]) == (
        "benchmark,method,set,auroc_mean,auroc_std\n"
        "small,CLIPN-CTW,dogs,0.700000,0.100000\n"
        "small,CLIPN-CTW,average,0.500000,\n"
    )

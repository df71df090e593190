"""Metrics against hand-made cases, scikit-learn and the reference's numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from safetensors.numpy import load_file
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from clipn import metrics
from clipn.errors import InvalidData, NonFinite
from tests.conftest import ROOT

GOLDEN = ROOT / "tests/golden"
SHARED = ROOT.parent / "shared/golden/infer"

# Few distinct values: most scores are tied, within a side and across.
TIED = st.lists(st.integers(-4, 4), min_size=1, max_size=40)


def by_scikit_learn(id_scores: ArrayLike, ood_scores: ArrayLike, tpr: float = 0.95) -> dict[str, float]:
    """What `measures` gives, written with scikit-learn alone."""
    scores = np.concatenate([id_scores, ood_scores]).astype(np.float64)
    is_id = np.repeat([1, 0], [len(id_scores), len(ood_scores)])
    fpr, recall, _ = roc_curve(is_id, scores, drop_intermediate=False)
    ood_fpr, ood_recall, _ = roc_curve(1 - is_id, -scores, drop_intermediate=False)
    return {
        "auroc": roc_auc_score(is_id, scores),
        "aupr_in": average_precision_score(is_id, scores),
        "aupr_out": average_precision_score(1 - is_id, -scores),
        "fpr95_id_interpolated": np.interp(tpr, recall, fpr),
        "fpr95_id_nearest": fpr[np.argmin(np.abs(recall - tpr))],
        "fpr95_ood_first": ood_fpr[np.argmax(ood_recall >= tpr)],
    }


@pytest.mark.parametrize(
    ("inliers", "outliers", "expected"),
    [
        ([2, 3], [0, 1], 1.0),
        ([0, 1], [2, 3], 0.0),
        ([1, 1], [1, 1], 0.5),
        ([1, 3], [2], 0.5),
        ([1, 2, 3], [2, 0], 4.5 / 6),  # five pairs won, one tied
    ],
)
def test_auroc_by_hand(inliers: list[float], outliers: list[float], expected: float) -> None:
    assert metrics.auroc(inliers, outliers) == pytest.approx(expected)


def test_average_precision_by_hand() -> None:
    # Down from the top: ID, then ID and OOD together, then OOD. Recall rises by ½ twice, at precision 1 and ⅔.
    assert metrics.aupr_in([3, 2], [2, 1]) == pytest.approx(1 / 2 + 1 / 3)
    # Up from the bottom with OOD positive: OOD and two ID together, then an ID, then the second OOD.
    assert metrics.aupr_out([1, 1, 2], [1, 3]) == pytest.approx((1 / 3 + 2 / 5) / 2)


def test_a_perfect_score() -> None:
    for inliers, outliers in (([1.0], [0.0]), ([2.0, 3.0, 3.0], [-1.0, 1.0])):
        found = metrics.measures(inliers, outliers)
        assert [found.pop(name) for name in ("auroc", "aupr_in", "aupr_out")] == [1, 1, 1]
        assert list(found.values()) == [0, 0, 0]


def test_scores_that_are_all_equal() -> None:
    # The ROC curve is the diagonal, and its only points are the ends.
    assert metrics.measures([7.0] * 3, [7.0]) == {
        "auroc": 0.5,
        "aupr_in": 0.75,
        "aupr_out": 0.25,
        "fpr95_id_interpolated": 0.95,
        "fpr95_id_nearest": 1.0,
        "fpr95_ood_first": 1.0,
    }


def test_zero_has_no_sign() -> None:
    assert metrics.auroc([0.0], [-0.0]) == 0.5


def test_fpr_conventions_differ_on_the_same_scores() -> None:
    # The threshold 3 gives the point (0, ½) of the ROC curve, 1 gives (½, 1): at a recall of .95 the
    # straight line between them is at .45, and the nearer threshold is 1.
    inliers, outliers = [1, 3], [0, 1]
    assert metrics.fpr_at_tpr(inliers, outliers, convention="id-interpolated") == pytest.approx(0.45)
    assert metrics.fpr_at_tpr(inliers, outliers, convention="id-nearest") == pytest.approx(0.5)


def test_which_side_is_positive_matters() -> None:
    inliers = np.arange(10, 30)  # twenty images: 19 of them are 95 %
    outliers = [0, 5, 10.5, 20.5]
    # With ID positive the threshold is 11, and one of four outliers lies above it.
    assert metrics.fpr_at_tpr(inliers, outliers, convention="id-nearest") == pytest.approx(1 / 4)
    # With OOD positive all four have to be caught: eleven inliers lie below 20.5.
    assert metrics.fpr_at_tpr(inliers, outliers, convention="ood-first") == pytest.approx(11 / 20)


@given(TIED, TIED)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_ties_count_as_in_scikit_learn(inliers: list[int], outliers: list[int]) -> None:
    assert metrics.measures(inliers, outliers) == pytest.approx(by_scikit_learn(inliers, outliers), abs=1e-12)


@pytest.mark.parametrize("tpr", [0.0, 0.3, 0.5, 0.99])
def test_other_rates_than_95_percent(tpr: float) -> None:
    inliers, outliers = np.random.default_rng(1).integers(9, size=(2, 30))
    expected = by_scikit_learn(inliers + 2, outliers, tpr)
    for convention in metrics.CONVENTIONS:
        found = metrics.fpr_at_tpr(inliers + 2, outliers, tpr, convention)
        assert found == pytest.approx(expected[metrics.fpr95_key(convention)], abs=1e-12)


@pytest.mark.parametrize("distinct", [50, None])
def test_many_scores(distinct: int | None) -> None:
    inliers, outliers = np.random.default_rng(2).normal(size=20_000), np.random.default_rng(3).normal(size=5_000) - 1
    if distinct is not None:
        inliers, outliers = (np.round(values * distinct / 8) for values in (inliers, outliers))
    assert metrics.measures(inliers, outliers) == pytest.approx(by_scikit_learn(inliers, outliers), abs=1e-12)


def test_measures_are_what_the_single_functions_give() -> None:
    inliers, outliers = np.random.default_rng(4).integers(30, size=(2, 50))
    assert metrics.measures(inliers, outliers) == {
        "auroc": metrics.auroc(inliers, outliers),
        "aupr_in": metrics.aupr_in(inliers, outliers),
        "aupr_out": metrics.aupr_out(inliers, outliers),
        **{metrics.fpr95_key(c): metrics.fpr_at_tpr(inliers, outliers, convention=c) for c in metrics.CONVENTIONS},
    }


@pytest.mark.parametrize("folder", [GOLDEN, SHARED], ids=["tests", "shared"])
@pytest.mark.parametrize("method", ["msp", "max_logit", "energy", "ctw", "atd"])
def test_matches_the_reference(method: str, folder: Path) -> None:
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    scores = load_file(folder / "scores.safetensors")
    expected = json.loads((folder / "metrics.json").read_text())[method]
    inliers, outliers = scores[f"id_{method}"], scores[f"ood_{method}"]
    assert metrics.auroc(inliers, outliers) == pytest.approx(expected["auroc"], abs=1e-5)
    interpolated = metrics.fpr_at_tpr(inliers, outliers, convention="id-interpolated")
    assert interpolated == pytest.approx(expected["fpr95_id_positive_interpolated"], abs=1e-5)
    first = metrics.fpr_at_tpr(inliers, outliers, convention="ood-first")
    assert first == pytest.approx(expected["fpr95_ood_positive_first"], abs=1e-5)


def test_a_nan_is_refused_and_counted() -> None:
    with pytest.raises(NonFinite, match=r"1 of 3 OOD scores.*index 1"):
        metrics.auroc([1.0], [0.0, np.nan, 2.0])


def test_an_empty_side_is_refused() -> None:
    with pytest.raises(InvalidData, match=r"ID scores have shape \(0,\)"):
        metrics.fpr_at_tpr([], [1.0])


def test_unknown_convention() -> None:
    with pytest.raises(ValueError, match="id-interpolated, id-nearest, ood-first"):
        metrics.fpr_at_tpr([1.0], [0.0], convention="usual")


def test_metric_key_names_the_convention() -> None:
    assert metrics.fpr95_key("id-interpolated") == "fpr95_id_interpolated"

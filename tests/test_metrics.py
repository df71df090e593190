"""Metrics against hand-made cases and against the reference's numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from clipn import metrics
from clipn.errors import InvalidData, NonFinite

GOLDEN = Path(__file__).parent / "data/golden"


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


@pytest.mark.parametrize("method", ["msp", "max_logit", "energy", "ctw", "atd"])
def test_matches_the_reference(method: str) -> None:
    scores = load_file(GOLDEN / "scores.safetensors")
    expected = json.loads((GOLDEN / "metrics.json").read_text())[method]
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

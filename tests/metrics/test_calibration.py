"""Calibration errors that can be computed by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from clipn.errors import InvalidData, NonFinite
from clipn.metrics.calibration import Bin, balanced_error, reliability


def test_two_bins_by_hand() -> None:
    # Below one half: .2 and .4, one of them right. Above: .6, .8 and 1, all right.
    found = reliability([0.2, 0.4, 0.6, 0.8, 1.0], [True, False, True, True, True], bins=2)
    assert [(entry.confidence, entry.accuracy, entry.share) for entry in found.bins] == [
        (pytest.approx(0.3), pytest.approx(0.5), pytest.approx(0.4)),
        (pytest.approx(0.8), pytest.approx(1.0), pytest.approx(0.6)),
    ]
    assert found.error == pytest.approx(0.4 * 0.2 + 0.6 * 0.2)
    assert (found.confidence, found.accuracy) == (pytest.approx(0.6), pytest.approx(0.8))


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_bins_are_those_of_scikit_learn(bins: int) -> None:
    rng = np.random.default_rng(0)
    # Edges too, and the middle left empty.
    confidence = np.concatenate([rng.uniform(0, 0.4, 200), rng.uniform(0.7, 1, 200), np.arange(bins + 1) / bins])
    correct = rng.random(len(confidence)) < confidence
    accuracies, confidences = calibration_curve(correct, confidence, n_bins=bins)
    found = reliability(confidence, correct, bins=bins)
    np.testing.assert_allclose([entry.accuracy for entry in found.bins], accuracies)
    np.testing.assert_allclose([entry.confidence for entry in found.bins], confidences)


def test_one_bin_compares_the_means() -> None:
    assert reliability([0.5, 0.9], [True, False], bins=1).error == pytest.approx(0.2)


def test_bins_are_closed_above_and_empty_ones_left_out() -> None:
    found = reliability([0.0, 0.5, 0.75, 0.76], [True] * 4, bins=4)
    assert [entry.confidence for entry in found.bins] == [0.0, 0.5, 0.75, 0.76]
    # 1/3 is an edge of fifteen bins: it lies in the fifth, and what is a little more in the sixth.
    assert len(reliability([1 / 3, 1 / 3 + 1e-9], [True, True]).bins) == 2
    assert len(reliability([1 / 3, 1 / 3 - 1e-9], [True, True]).bins) == 1


def test_weights_count_as_copies() -> None:
    weighted = reliability([0.1, 0.3, 0.8], [False, True, True], weights=[1, 2, 3])
    copied = reliability([0.1, 0.3, 0.3, 0.8, 0.8, 0.8], [False, True, True, True, True, True])
    assert weighted.error == pytest.approx(copied.error)
    assert weighted.confidence == pytest.approx(copied.confidence)
    assert weighted.accuracy == pytest.approx(copied.accuracy)
    assert [entry.share for entry in weighted.bins] == pytest.approx([1 / 6, 1 / 3, 1 / 2])


def test_an_image_of_no_weight_fills_no_bin() -> None:
    assert reliability([0.1, 0.9], [True, True], weights=[0, 5]).bins == (Bin(0.9, 1.0, 1.0),)


def test_perfect_calibration() -> None:
    random = np.random.default_rng(0)
    probability = random.uniform(size=40_000)
    assert reliability(probability, random.uniform(size=40_000) < probability).error < 0.01


def test_as_json() -> None:
    found = reliability([0.5, 1.0], [False, True], bins=2).as_json()
    assert json.loads(json.dumps(found)) == {
        "error": 0.25,
        "confidence": 0.75,
        "accuracy": 0.5,
        "bins": [
            {"confidence": 0.5, "accuracy": 0.0, "share": 0.5},
            {"confidence": 1.0, "accuracy": 1.0, "share": 0.5},
        ],
    }


def test_sizes_of_the_sets_do_not_count() -> None:
    # ID says .9 and OOD .2: the first misses 1 by .1, the second 0 by .2.
    assert balanced_error([0.9], [0.2]) == pytest.approx((0.1 + 0.2) / 2)
    assert balanced_error([0.9] * 7, [0.2] * 2) == pytest.approx((0.1 + 0.2) / 2)
    # In one bin half of the weight is ID, whichever side has more images.
    assert balanced_error([0.5] * 9, [0.5]) == pytest.approx(0)
    assert balanced_error([0.8] * 9, [0.8]) == pytest.approx(0.3)


def test_certain_and_right() -> None:
    assert balanced_error([1.0, 1.0], [0.0]) == 0


def test_rounding_is_forgiven_and_other_numbers_are_not() -> None:
    assert balanced_error([1.00001], [-0.00001]) == 0
    with pytest.raises(InvalidData, match=r"OOD spans 0\.1 to 17"):
        balanced_error([0.9], [0.1, 17.0])
    with pytest.raises(NonFinite, match="1 of 2 confidence"):
        reliability([0.1, np.nan], [True, True])


def test_what_does_not_fit_together() -> None:
    with pytest.raises(InvalidData, match="at least one score"):
        reliability([], [])
    with pytest.raises(ValueError, match="2 confidences, 1 answers and 2 weights"):
        reliability([0.1, 0.2], [True])
    with pytest.raises(ValueError, match="0 bins"):
        reliability([0.1], [True], bins=0)
    for weights in ([0, 0], [2, -1]):
        with pytest.raises(InvalidData, match="negative or all zero"):
            reliability([0.1, 0.2], [True, True], weights=weights)

"""The CLIP paper's probe: the optimum of its objective, and the search for the strength of the penalty."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from clipn.errors import InvalidData, NonFinite
from clipn.scores import Classifies, clip_probe
from clipn.scores.clip_probe import DEFAULT_STRENGTH, ProbeLBFGS, logistic_regression, search, train
from tests.scores.id_images import DEGENERATE, FEATURES, IMAGES, LABELS, degenerate, evidence

GRID = [10 ** (exponent / 8) for exponent in range(-48, 49)]


@pytest.mark.parametrize("classes", [2, 3])
def test_the_gradient_of_the_objective_is_zero(classes: int) -> None:
    rows = classes > LABELS
    x, labels = FEATURES[rows].astype(np.float64), LABELS[rows]
    probe = logistic_regression(FEATURES[rows], labels, classes, strength=0.01)
    error = softmax(probe.logits(FEATURES[rows]).astype(np.float64), axis=1) - np.eye(classes)[labels]
    # C · Σ cross-entropy + ½ ‖W‖²; of two classes scikit-learn penalises the difference, half of it in each here.
    penalty = (2 if classes == 2 else 1) * probe.weight
    np.testing.assert_allclose(0.01 * error.T @ x + penalty, 0, atol=2e-3)
    np.testing.assert_allclose(error.sum(axis=0), 0, atol=2e-2)
    assert np.abs(probe.weight).max() > 0.05


@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities_are_scikit_learn_s(classes: int) -> None:
    rows = classes > LABELS
    probe = logistic_regression(FEATURES[rows], LABELS[rows], classes, strength=0.1)
    reference = LogisticRegression(C=0.1, max_iter=1000).fit(FEATURES[rows], LABELS[rows])
    np.testing.assert_allclose(softmax(probe.logits(IMAGES), axis=1), reference.predict_proba(IMAGES), atol=1e-6)


def test_the_score_is_the_largest_probability() -> None:
    score = ProbeLBFGS().fit(evidence())
    probability = softmax(score.probe.logits(IMAGES), axis=1)
    np.testing.assert_allclose(score.score(IMAGES), probability.max(axis=1), rtol=1e-6)
    assert isinstance(score, Classifies)
    assert score.predict(IMAGES).tolist() == probability.argmax(axis=1).tolist()
    assert (score.predict(FEATURES) == LABELS).mean() > 0.7


@pytest.mark.parametrize("peak", [0, 1, 17, 48, 50, 95, 96])
def test_a_single_peak_is_found_in_fifteen_tries(peak: int) -> None:
    tried: list[float] = []

    def accuracy(strength: float) -> float:
        tried.append(strength)
        return -abs(np.log10(strength) - np.log10(GRID[peak]))

    assert search(accuracy) == pytest.approx(GRID[peak])
    assert len(tried) == len(set(tried)) <= 15
    assert min(tried) >= GRID[0]
    assert max(tried) <= GRID[-1]


def test_the_first_tries_are_those_of_the_paper() -> None:
    tried: list[float] = []
    search(lambda strength: tried.append(strength) or 0.0)
    np.testing.assert_allclose(tried[:7], [1e-6, 1e-4, 1e-2, 1, 1e2, 1e4, 1e6])


def test_of_equally_good_strengths_the_strongest_penalty_is_taken() -> None:
    assert search(lambda strength: float(strength >= 0.9)) == pytest.approx(1)


def test_each_class_holds_out_a_fifth_but_not_its_only_image() -> None:
    labels = np.repeat([0, 1, 2, 4], [10, 3, 1, 25])
    held_out = clip_probe._held_out(labels, seed=0)
    assert np.bincount(labels[held_out], minlength=5).tolist() == [2, 1, 0, 0, 5]
    assert (held_out == clip_probe._held_out(labels, seed=0)).all()
    assert (held_out != clip_probe._held_out(labels, seed=1)).any()


def test_all_images_are_fitted_with_the_strength_that_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_probe, "search", lambda accuracy: 0.02)
    expected = logistic_regression(FEATURES, LABELS, 3, 0.02)
    np.testing.assert_array_equal(train(FEATURES, LABELS, 3).weight, expected.weight)


def test_with_one_image_a_class_nothing_can_be_held_out() -> None:
    rows = [0, 10, 20]
    expected = logistic_regression(FEATURES[rows], LABELS[rows], 3, DEFAULT_STRENGTH)
    np.testing.assert_array_equal(train(FEATURES[rows], LABELS[rows], 3).weight, expected.weight)


def test_a_class_without_images_has_probability_zero() -> None:
    probability = softmax(train(FEATURES, LABELS, 5).logits(IMAGES), axis=1)
    np.testing.assert_array_equal(probability[:, 3:], 0)


def test_a_fit_that_is_stopped_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_probe, "ITERATIONS", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logistic_regression(FEATURES, LABELS, 3, 1.0)


def test_images_that_cannot_be_fitted() -> None:
    with pytest.raises(InvalidData, match="has class 2, but there are 2 classes"):
        train(FEATURES, LABELS, 2)
    broken = FEATURES.copy()
    broken[4, 1] = np.nan
    with pytest.raises(NonFinite, match="feature of image 4 is NaN or infinite"):
        train(broken, LABELS, 3)


@pytest.mark.parametrize("case", DEGENERATE)
def test_finite(case: str) -> None:
    assert np.isfinite(ProbeLBFGS().fit(degenerate(case)).score(IMAGES)).all()

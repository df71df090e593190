"""Neighbours against scikit-learn's exact search and votes counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.neighbors import NearestNeighbors

from clipn.features import nearest
from clipn.scores import Classifies, knn
from clipn.scores.knn import KNN, OneNN
from tests.scores.id_images import DEGENERATE, FEATURES, IMAGES, LABELS, degenerate, evidence


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "CPU_BLOCK", 7)
    monkeypatch.setattr(nearest, "QUERIES", 2)


@pytest.mark.parametrize("k", [1, 3, 10, 30, 200])
def test_scikit_learn_finds_the_same(k: int) -> None:
    counted = min(k, len(FEATURES))
    reference = NearestNeighbors(n_neighbors=counted, metric="cosine", algorithm="brute").fit(FEATURES.astype(float))
    distances, rows = reference.kneighbors(IMAGES.astype(float))
    expected = 0.02 * (logsumexp((1 - distances) / 0.02, axis=1) - np.log(counted))
    score = KNN(k).fit(evidence())
    np.testing.assert_allclose(score.score(IMAGES), expected, atol=1e-6)
    votes = [np.bincount(LABELS[row], minlength=3) for row in rows]
    winners = [next(c for c in LABELS[row] if vote[c] == vote.max()) for row, vote in zip(rows, votes, strict=True)]
    assert score.predict(IMAGES).tolist() == winners


def test_one_neighbour_is_a_cosine() -> None:
    score = OneNN().fit(evidence(np.array([[2, 0], [0, 3]], np.float32), labels=np.array([0, 1])))
    images = np.array([[5, 0], [3, 4], [-1, -1]], np.float32)
    np.testing.assert_allclose(score.score(images), [1, 0.8, -(0.5**0.5)], atol=1e-6)
    assert score.predict(images[:2]).tolist() == [0, 1]


def test_the_order_is_that_of_the_mean_of_exponentials() -> None:
    unit = FEATURES / np.linalg.norm(FEATURES, axis=1, keepdims=True)
    queries = IMAGES / np.linalg.norm(IMAGES, axis=1, keepdims=True)
    paper = np.exp(-np.sort(-(queries @ unit.T).astype(float), axis=1)[:, :4] / 0.02).mean(axis=1)
    assert np.argsort(KNN(4).fit(evidence()).score(IMAGES)).tolist() == np.argsort(paper).tolist()


def test_with_equally_many_votes_the_nearest_wins() -> None:
    angles = np.array([0.1, 0.2, 0.3, 0.4])
    known = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    image = np.array([[1, 0]], np.float32)
    assert KNN(4).fit(evidence(known, np.array([2, 1, 1, 2]))).predict(image).tolist() == [2]
    assert KNN(3).fit(evidence(known, np.array([2, 1, 1, 2]))).predict(image).tolist() == [1]


def test_equal_images_all_count() -> None:
    known = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], np.float32)
    score = KNN(3).fit(evidence(known, np.array([0, 0, 0, 1])))
    np.testing.assert_allclose(score.score(np.array([[1, 0]], np.float32)), [1], atol=1e-6)


@pytest.mark.parametrize("labels", [None, np.where(LABELS == 1, -1, LABELS)])
def test_without_the_classes_of_all_images_there_is_no_prediction(labels: np.ndarray | None) -> None:
    score = KNN().fit(evidence(labels=labels))
    assert not isinstance(score, Classifies)
    np.testing.assert_array_equal(score.score(IMAGES), KNN().fit(evidence()).score(IMAGES))
    assert isinstance(KNN().fit(evidence()), Classifies)


@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.parametrize("make", [OneNN, KNN])
def test_finite(make: type[OneNN] | type[KNN], case: str) -> None:
    score = make().fit(degenerate(case))
    assert np.isfinite(score.score(np.concatenate([IMAGES, np.zeros((1, 6), np.float32)]))).all()

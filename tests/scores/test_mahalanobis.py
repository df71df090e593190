"""Mahalanobis distances against scikit-learn and pytorch-ood."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import EmpiricalCovariance
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from clipn.scores import Classifies, shared_covariance
from clipn.scores.mahalanobis import Mahalanobis, RelativeMahalanobis
from clipn.scores.shared_covariance import FLOOR
from tests.scores.id_images import DEGENERATE, FEATURES, IMAGES, LABELS, degenerate, evidence

MEANS = np.stack([FEATURES[c == LABELS].mean(axis=0, dtype=float) for c in range(3)])
# pytorch-ood 0.4.0 on FEATURES, LABELS and IMAGES: Mahalanobis(None).fit_features(...).predict_features(...), and RMD.
# The first is half the squared distance under the scatter, not divided by anything, plus 1e-6; the second is whole.
PYTORCH_OOD = [0.10719051957130432, 0.07019288837909698, 0.034116242080926895, 0.17908106744289398, 0.3987577557563782]
PYTORCH_OOD_RELATIVE = [
    0.011069431900978088,
    0.0021562576293945312,
    -0.03367476165294647,
    0.1744537651538849,
    0.16318964958190918,
]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_covariance, "BLOCK", 7)


def test_scikit_learn() -> None:
    within = EmpiricalCovariance(assume_centered=True).fit(FEATURES - MEANS[LABELS])
    within.precision_ *= 27 / 30  # it divides by N; the classes' covariances by n - 1
    expected = [-min(within.mahalanobis(image[None] - mean)[0] for mean in MEANS) for image in IMAGES]
    np.testing.assert_allclose(Mahalanobis().fit(evidence()).score(IMAGES), expected, rtol=1e-5)
    everything = EmpiricalCovariance().fit(FEATURES)
    relative = np.array(expected) + everything.mahalanobis(IMAGES) * 29 / 30
    np.testing.assert_allclose(RelativeMahalanobis().fit(evidence()).score(IMAGES), relative, rtol=1e-4)


def test_classes_are_those_of_linear_discriminant_analysis() -> None:
    reference = LinearDiscriminantAnalysis(priors=[1 / 3] * 3).fit(FEATURES, LABELS)
    score = Mahalanobis().fit(evidence())
    assert isinstance(score, Classifies)
    assert score.predict(FEATURES).tolist() == reference.predict(FEATURES).tolist()
    shifted = Mahalanobis().fit(evidence(labels=LABELS * 2 + 3))
    assert shifted.predict(FEATURES).tolist() == (reference.predict(FEATURES) * 2 + 3).tolist()


def test_pytorch_ood() -> None:
    nearest = 2 * np.array(PYTORCH_OOD)
    whole = nearest - PYTORCH_OOD_RELATIVE  # the distance under one Gaussian
    np.testing.assert_allclose(Mahalanobis().fit(evidence()).score(IMAGES), -27 * nearest, rtol=1e-5)
    np.testing.assert_allclose(
        RelativeMahalanobis().fit(evidence()).score(IMAGES), 29 * whole - 27 * nearest, rtol=1e-4
    )


def test_covariance_is_the_mean_over_classes_of_unequal_size() -> None:
    rows = np.r_[0:10, 10:14, 20]  # ten images, four and one
    covariances = [np.cov(FEATURES[:10].T.astype(float)), np.cov(FEATURES[10:14].T.astype(float))]
    precision = np.linalg.inv(np.mean(covariances, axis=0))
    centres = [FEATURES[part].mean(axis=0, dtype=float) for part in (slice(10), slice(10, 14), slice(20, 21))]
    differences = IMAGES[:, None] - np.stack(centres)
    expected = -np.einsum("ncp,pq,ncq->nc", differences, precision, differences).min(axis=1)
    score = Mahalanobis().fit(evidence(FEATURES[rows], LABELS[rows]))
    np.testing.assert_allclose(score.score(IMAGES), expected, rtol=1e-4)
    assert score.score(FEATURES[20:21]) == pytest.approx(0, abs=1e-6)  # the lone image is its class's mean


def test_directions_that_no_id_image_takes_are_far() -> None:
    flat = FEATURES * [1, 1, 0, 0, 0, 0]
    score = Mahalanobis().fit(evidence(flat.astype(np.float32)))
    within = sum(np.cov(flat[c == LABELS].T) for c in range(3)) / 3
    off = (IMAGES * [0, 0, 1, 1, 1, 1]).astype(np.float32)
    on = (IMAGES * [1, 1, 0, 0, 0, 0]).astype(np.float32)
    beyond = (off.astype(float) ** 2).sum(axis=1) / (FLOOR * np.trace(within) / 6)
    np.testing.assert_allclose(score.score(on + off), score.score(on) - beyond, rtol=1e-5)


def test_with_few_images_the_relative_distance_still_prefers_id_images() -> None:
    rng = np.random.default_rng(0)
    spread = np.geomspace(3, 0.03, 60)
    centres = 4 * rng.normal(size=(5, 60)) * spread
    draw = lambda n: centres[np.arange(n) % 5] + rng.normal(size=(n, 60)) * spread  # noqa: E731
    known, images = draw(40).astype(np.float32), draw(40).astype(np.float32)
    strange = (rng.normal(size=(40, 60)) * spread[::-1]).astype(np.float32)
    for make in (Mahalanobis, RelativeMahalanobis):
        score = make().fit(evidence(known, np.arange(40) % 5))
        assert np.median(score.score(images)) > np.median(score.score(strange))


@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.parametrize("make", [Mahalanobis, RelativeMahalanobis])
def test_finite(make: type[Mahalanobis], case: str) -> None:
    score = make().fit(degenerate(case))
    assert np.isfinite(score.score(IMAGES)).all()
    assert set(score.predict(IMAGES)) <= set(np.asarray(DEGENERATE[case][1]).tolist())


def test_without_a_class_of_two_images_the_distance_is_euclidean() -> None:
    score = Mahalanobis().fit(evidence(FEATURES[:3], np.arange(3)))
    expected = -((IMAGES[:, None] - FEATURES[:3]) ** 2).sum(axis=2).min(axis=1)
    np.testing.assert_allclose(score.score(IMAGES), expected, rtol=1e-5)

"""Gaussians of one shape against NumPy's covariances."""

from __future__ import annotations

import numpy as np
import pytest

from clipn.scores import shared_covariance
from clipn.scores.shared_covariance import FLOOR, Gaussians


@pytest.mark.parametrize("block", [3, 8192])
def test_distances_by_numpy(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_covariance, "BLOCK", block)
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(50, 3)) @ rng.normal(size=(3, 3)) + 100).astype(np.float32)
    groups = np.arange(50) % 2
    fitted = Gaussians.fit(features, groups, "cpu")
    covariance = sum(np.cov(features[groups == g].T.astype(np.float64)) for g in (0, 1)) / 2
    x = features[:4].astype(np.float64)
    for g in (0, 1):
        off = x - features[groups == g].astype(np.float64).mean(axis=0)
        expected = (off @ np.linalg.inv(covariance) * off).sum(axis=1)
        np.testing.assert_allclose(fitted.distances(features[:4])[:, g], expected, rtol=1e-9)


def test_no_direction_has_less_than_a_share_of_the_mean_variance() -> None:
    features = np.array([[-1, 0], [1, 0], [-1, 0], [1, 0]], np.float32)  # nothing varies in the second direction
    fitted = Gaussians.fit(features, np.zeros(4, np.int64), "cpu")
    variance = 4 / 3
    off = fitted.distances(np.array([[0, 1]], np.float32)).item()
    assert off == pytest.approx(1 / (FLOOR * variance / 2))

"""Gaussians of one shape against NumPy's covariances."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import EmpiricalCovariance

from clipn.scores import shared_covariance
from clipn.scores.shared_covariance import FLOOR, Gaussians, scatter


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


@pytest.mark.parametrize("rows", [2, 15, 50])
def test_the_scatter_of_blocks_is_the_covariance_of_all(rows: int) -> None:
    features = np.random.default_rng(1).normal(size=(50, 4))
    centred = features - features.mean(axis=0)
    total = scatter((centred[start : start + rows] for start in range(0, 50, rows)), 4)
    np.testing.assert_allclose(total / 50, EmpiricalCovariance().fit(features).covariance_, rtol=1e-12)


@pytest.mark.parametrize(("count", "expected"), [(0, []), (1, [1]), (7, [7]), (8, [4, 4]), (15, [5, 5, 5])])
def test_blocks_are_of_equal_length(count: int, expected: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_covariance, "BLOCK", 7)
    rows = np.arange(count)
    parts = [rows[part] for part in shared_covariance.blocks(count)]
    assert [len(part) for part in parts] == expected
    assert [row for part in parts for row in part] == rows.tolist()


def test_one_group_is_scikit_learn_s_covariance() -> None:
    features = np.random.default_rng(2).normal(size=(40, 5)).astype(np.float32)
    reference = EmpiricalCovariance().fit(features.astype(np.float64))
    found = Gaussians.fit(features, np.zeros(40, np.int64), "cpu").distances(features[:6])[:, 0]
    expected = reference.mahalanobis(features[:6]) * 39 / 40  # it divides by N
    np.testing.assert_allclose(found, expected, rtol=1e-9)

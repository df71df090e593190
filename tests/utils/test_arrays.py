"""Vectors of unit norm."""

from __future__ import annotations

import numpy as np

from clipn.utils.arrays import unit_norm


def test_a_zero_vector_is_nan_unless_it_is_meant() -> None:
    vectors = np.array([[0, 0], [0, -2], [3, 4]], np.float16)
    kept = unit_norm(vectors, keep_zeros=True)
    assert kept.dtype == np.float32
    np.testing.assert_allclose(kept, [[0, 0], [0, -1], [0.6, 0.8]], rtol=1e-6)
    with np.errstate(invalid="ignore"):
        assert np.isnan(unit_norm(vectors)).tolist() == [[True, True], [False, False], [False, False]]


def test_vectors_lie_along_the_last_axis() -> None:
    units = unit_norm(np.array([[[3, 4], [0, 5]], [[1, 0], [6, 8]]], np.float32))
    np.testing.assert_allclose(units, [[[0.6, 0.8], [0, 1]], [[1, 0], [0.6, 0.8]]], rtol=1e-6)


def test_what_is_given_is_not_changed() -> None:
    vectors = np.array([[3, 4]], np.float32)
    unit_norm(vectors)
    assert vectors.tolist() == [[3, 4]]

"""Vectors of unit norm."""

from __future__ import annotations

import numpy as np

from clipn.utils.arrays import unit_norm


def test_a_zero_vector_stays_zero() -> None:
    found = unit_norm(np.array([[0, 0], [0, -2], [3, 4]], np.float16))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[0, 0], [0, -1], [0.6, 0.8]], rtol=1e-6)


def test_vectors_lie_along_the_last_axis() -> None:
    found = unit_norm(np.array([[[3, 4], [0, 5]], [[1, 0], [6, 8]]], np.float32))
    np.testing.assert_allclose(found, [[[0.6, 0.8], [0, 1]], [[1, 0], [0.6, 0.8]]], rtol=1e-6)


def test_what_is_given_is_not_changed() -> None:
    vectors = np.array([[3, 4]], np.float32)
    unit_norm(vectors)
    assert vectors.tolist() == [[3, 4]]

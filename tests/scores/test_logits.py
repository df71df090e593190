"""What is read off logits, by hand."""

from __future__ import annotations

import math

import numpy as np

from clipn.scores.logits import energy, max_probability

LOGITS = np.array([[math.log(1), math.log(2), math.log(5)], [1000, 1000, -np.inf]], np.float32)


def test_the_largest_probability() -> None:
    np.testing.assert_allclose(max_probability(LOGITS), [5 / 8, 1 / 2], rtol=1e-6)


def test_the_energy() -> None:
    np.testing.assert_allclose(energy(LOGITS), [math.log(8), 1000 + math.log(2)], rtol=1e-6)

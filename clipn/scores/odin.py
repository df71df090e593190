"""ODIN, as far as it can be computed from features."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from clipn.scores.probe import OnProbe
from clipn.utils.arrays import Array


class ODIN(OnProbe):
    """Largest softmax probability at a high temperature after a small step that raises it (arXiv 1706.02690).

    s(x) = max_j S_j(z̃), z̃ = z + ε · sign(∇_z log S_ŷ(z)), S(z) = softmax((W z + b) / T), ŷ = argmax_j S_j(z)

    T = 1000 and ε = 0.0014, the paper's. This is not the paper's method in full: there the step is taken on the
    pixels, and its gradient goes back through the network. What is scored here are cached features, so z is the
    probe's input, the standardised feature, and the network below it has no part in the step. For a linear
    classifier the gradient needs no backward pass: ∇_z log S_ŷ = (W_ŷ - Σ_j S_j W_j) / T.
    """

    name: ClassVar[str] = "ODIN"

    def __init__(self, temperature: float = 1000.0, epsilon: float = 0.0014) -> None:
        self.temperature = temperature
        self.epsilon = epsilon

    def score(self, images: Array) -> Array:
        z = self.probe.standardise(images)
        probability = self._softmax(z)
        weight = self.probe.weight
        uphill = np.sign(weight[probability.argmax(axis=1)] - probability @ weight)
        return self._softmax(z + np.float32(self.epsilon) * uphill).max(axis=1)

    def _softmax(self, z: Array) -> Array:
        from scipy.special import softmax

        return softmax((z @ self.probe.weight.T + self.probe.bias) / np.float32(self.temperature), axis=1)

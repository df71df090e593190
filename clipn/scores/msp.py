"""Maximum softmax probability of zero-shot classification."""

from __future__ import annotations

from typing import ClassVar

from clipn.scores.base import NamesOnly
from clipn.scores.logits import max_probability
from clipn.utils.arrays import Array


class MSP(NamesOnly):
    """Maximum softmax probability at CLIP's own temperature (Hendrycks and Gimpel, arXiv 1610.02136).

    s(x) = max_j softmax(scale · cos(x, yes))_j
    """

    name: ClassVar[str] = "MSP"

    def score(self, images: Array) -> Array:
        return max_probability(self.yes_logits(images))

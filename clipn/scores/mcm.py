"""Maximum concept matching."""

from __future__ import annotations

from typing import ClassVar

from clipn.scores.base import NamesOnly
from clipn.scores.logits import max_probability
from clipn.utils.arrays import Array


class MCM(NamesOnly):
    """Maximum concept matching (Ming et al., arXiv 2211.13445): MSP of the unscaled cosines, τ = 1.

    s(x) = max_j softmax(cos(x, yes) / τ)_j
    """

    name: ClassVar[str] = "MCM"

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__(logit_scale=1 / temperature)

    def score(self, images: Array) -> Array:
        return max_probability(self.yes_logits(images))

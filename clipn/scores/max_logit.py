"""The largest logit of zero-shot classification."""

from __future__ import annotations

from typing import ClassVar

from clipn.scores.base import NamesOnly
from clipn.utils.arrays import Array


class MaxLogit(NamesOnly):
    """Largest logit (Hendrycks et al., arXiv 1911.11132): s(x) = max_j scale · cos(x, yes_j)."""

    name: ClassVar[str] = "MaxLogit"

    def score(self, images: Array) -> Array:
        return self.yes_logits(images).max(axis=1)

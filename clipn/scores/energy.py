"""Negative free energy of zero-shot classification."""

from __future__ import annotations

from typing import ClassVar

from clipn.scores.base import NamesOnly
from clipn.scores.logits import energy
from clipn.utils.arrays import Array


class Energy(NamesOnly):
    """Negative free energy (Liu et al., arXiv 2010.03759): s(x) = log Σ_j exp(scale · cos(x, yes_j))."""

    name: ClassVar[str] = "Energy"

    def score(self, images: Array) -> Array:
        return energy(self.yes_logits(images))

"""Scores from the "yes" logits of zero-shot classification: the baselines of the CLIPN paper."""

from __future__ import annotations

from typing import ClassVar

from scipy.special import logsumexp, softmax

from clipn.scores.base import Array, NamesOnly


class MSP(NamesOnly):
    """Maximum softmax probability at CLIP's own temperature (Hendrycks and Gimpel, arXiv 1610.02136).

    s(x) = max_j softmax(scale · cos(x, yes))_j
    """

    name: ClassVar[str] = "MSP"

    def score(self, images: Array) -> Array:
        return softmax(self.yes_logits(images), axis=1).max(axis=1)


class MCM(NamesOnly):
    """Maximum concept matching (Ming et al., arXiv 2211.13445): MSP of the unscaled cosines, τ = 1.

    s(x) = max_j softmax(cos(x, yes) / τ)_j
    """

    name: ClassVar[str] = "MCM"

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__(logit_scale=1 / temperature)

    def score(self, images: Array) -> Array:
        return softmax(self.yes_logits(images), axis=1).max(axis=1)


class MaxLogit(NamesOnly):
    """Largest logit (Hendrycks et al., arXiv 1911.11132): s(x) = max_j scale · cos(x, yes_j)."""

    name: ClassVar[str] = "MaxLogit"

    def score(self, images: Array) -> Array:
        return self.yes_logits(images).max(axis=1)


class Energy(NamesOnly):
    """Negative free energy (Liu et al., arXiv 2010.03759): s(x) = log Σ_j exp(scale · cos(x, yes_j))."""

    name: ClassVar[str] = "Energy"

    def score(self, images: Array) -> Array:
        return logsumexp(self.yes_logits(images), axis=1)

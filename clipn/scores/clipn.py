"""CLIPN's own two scores (arXiv 2308.12213, section 3.4)."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from clipn.scores.base import Evidence, NamesOnly
from clipn.utils.arrays import Array


class _Clipn(NamesOnly):
    needs: ClassVar[frozenset[str]] = frozenset({"yes", "no"})

    def fit(self, evidence: Evidence) -> Self:
        super().fit(evidence)
        assert evidence.no is not None  # `needs` says so, and `scores.fit` checks it
        self.no = evidence.no
        self.no_scale = self.logit_scale if evidence.no_logit_scale is None else evidence.no_logit_scale
        return self

    def no_probability(self, images: Array) -> Array:
        """Return p_no [N, C]: how strongly text j says "no" to image i (paper, equation 4).

        The softmax over the pair (yes logit, no logit) is the logistic function of their difference.
        """
        from scipy.special import expit

        return expit(self.no_scale * (images @ (self.no - self.yes).T))

    def probability(self, images: Array) -> Array:
        """Return the softmax of the "yes" logits [N, C]."""
        from scipy.special import softmax

        return softmax(self.yes_logits(images), axis=1)


class CTW(_Clipn):
    """Competing-to-win (CTW): the no-probability of the winning class alone.

    s(x) = 1 - p_no[ĵ], ĵ = argmax_j p_yes[j]; refused when p_no[ĵ] > ½.
    """

    name: ClassVar[str] = "CLIPN-CTW"

    def score(self, images: Array) -> Array:
        winner = self.yes_logits(images).argmax(axis=1)
        return 1 - self.no_probability(images)[np.arange(len(images)), winner]

    def keeps(self, images: Array) -> NDArray[np.bool_]:
        return self.score(images) >= 0.5


class ATD(_Clipn):
    """Agreeing-to-differ (ATD): all classes, weighted by their probability.

    s(x) = Σ_j (1 - p_no[j]) · p_yes[j]; 1 - s(x) is the probability of an added class C+1, and the
    image is refused when that exceeds every p_yes[j].
    """

    name: ClassVar[str] = "CLIPN-ATD"

    def score(self, images: Array) -> Array:
        return ((1 - self.no_probability(images)) * self.probability(images)).sum(axis=1)

    def keeps(self, images: Array) -> NDArray[np.bool_]:
        return (1 - self.score(images)) <= self.probability(images).max(axis=1)

"""Combinations of CLIPN's "no" with negative labels. Neither sees an OOD image.

Others were measured and left out, since they were not better than the better of their parts on most benchmarks;
`docs/scores.md` has the numbers.
"""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from clipn.scores.base import Evidence, Kind
from clipn.scores.clipn import ATD
from clipn.scores.neg_label import NegLabel
from clipn.utils.arrays import Array


class NegATD(ATD):
    """ATD among negative labels: an image is ID as far as it is neither a negative label nor refused by "no".

    s(x) = NegLabel(x) · ATD(x) = mean over groups of Σ_{j in ID} (1 - p_no[j]) · p[j], where p is the softmax over
    the ID classes and the negative labels of the group (arXiv 2403.20078): the share of ID in the group times p_yes[j]
    is that p[j]. Without negative labels it is ATD, and with p_no = 0 it is NegLabel.
    """

    name: ClassVar[str] = "NegATD"
    needs: ClassVar[frozenset[str]] = frozenset({"yes", "no", "words"})

    def fit(self, evidence: Evidence) -> Self:
        super().fit(evidence)
        self._negatives = NegLabel().fit(evidence)
        return self

    def score(self, images: Array) -> Array:
        return self._negatives.score(images) * super().score(images)

    def keeps(self, images: Array) -> NDArray[np.bool_]:
        """Return True unless class C + 1, which takes what negative labels and "no" take, exceeds every other class."""
        share = self._negatives.score(images)
        return 1 - share * super().score(images) <= share * self.probability(images).max(axis=1)


class ATDNegLabel:
    """Sum of ATD and NegLabel, each in units of its own spread over ID images.

    s(x) = Σ_k (s_k(x) - μ_k) / σ_k, with mean and standard deviation of s_k over the ID images. There is no weight
    to choose; for Gaussian scores that do not depend on each other it orders like Stouffer's sum of p-values.
    """

    name: ClassVar[str] = "ATD+NegLabel"
    needs: ClassVar[frozenset[str]] = frozenset({"yes", "no", "words", "images"})
    takes: ClassVar[Kind] = "image"

    def fit(self, evidence: Evidence) -> Self:
        id_features = evidence.fit_features(self.takes)
        self._parts = []
        for score in (ATD().fit(evidence), NegLabel().fit(evidence)):
            values = score.score(id_features).astype(np.float64)
            self._parts.append((score, values.mean(), max(values.std(), np.finfo(np.float32).tiny)))
        return self

    def score(self, images: Array) -> Array:
        standardised = [(score.score(images) - mean) / spread for score, mean, spread in self._parts]
        return np.sum(standardised, axis=0).astype(np.float32)

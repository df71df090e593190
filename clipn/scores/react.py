"""Energy after rectified activations."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np

from clipn.scores.base import Evidence
from clipn.scores.logits import energy
from clipn.scores.probe import OnProbe
from clipn.utils.arrays import Array


class ReAct(OnProbe):
    """Energy after rectified activations (Sun et al., arXiv 2111.12797).

    s(x) = log Σ_j exp(W min(x, c) + b)_j, c the 90th percentile of all entries of the ID features

    Clipped are the features as the tower gives them; W and b are the probe's, with its standardisation inside.
    The paper clips after a ReLU, where features are never negative; those of a transformer are not rectified, and
    only their upper side is clipped here too.
    """

    name: ClassVar[str] = "ReAct"

    def __init__(self, percentile: float = 90.0) -> None:
        self.percentile = percentile

    def fit(self, evidence: Evidence) -> Self:
        super().fit(evidence)
        self.clip = np.float32(np.percentile(evidence.fit_features(self.takes), self.percentile))
        return self

    def score(self, images: Array) -> Array:
        return energy(self.probe.logits(np.minimum(images, self.clip)))

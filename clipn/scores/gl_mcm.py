"""Global and local maximum concept matching."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np

from clipn.scores.base import Evidence, Kind
from clipn.utils.arrays import Array

COSINES = 2**23
"""Numbers in a block of cosines of patches with classes: 32 MB."""


class GLMCM:
    """Global and local maximum concept matching (Miyai et al., arXiv 2304.04521).

    s(x) = max_j softmax(cos(x, yes) / τ)_j + λ · max_{i, j} softmax(cos(x_i, yes) / τ)_j, with the patches x_i

    A class that shows only in a corner counts, so an image that shows another object too is in-distribution.
    τ = 1 and λ = 1, as in the paper.
    """

    name: ClassVar[str] = "GL-MCM"
    needs: ClassVar[frozenset[str]] = frozenset({"yes"})
    takes: ClassVar[Kind] = "patches"

    def __init__(self, temperature: float = 1.0, weight: float = 1.0) -> None:
        """
        Args:
            temperature: τ.
            weight: λ.
        """
        self.temperature, self.weight = temperature, weight

    def fit(self, evidence: Evidence) -> Self:
        import torch

        assert evidence.yes is not None  # `needs` says so, and `scores.fit` checks it
        self.yes = torch.from_numpy(evidence.yes).to(evidence.device)
        return self

    def score(self, images: Array) -> Array:
        """Return scores [N] of N images [N, 1 + T, D], each the whole first and then its T patches."""
        step = max(1, COSINES // (images.shape[1] * len(self.yes)))
        parts = [images[start : start + step] for start in range(0, len(images), step)]
        best = np.concatenate([self._confidence(part) for part in parts])
        return best[:, 0] + self.weight * best[:, 1:].max(axis=1)

    def _confidence(self, images: Array) -> Array:
        """Return the largest probability of a class at each place [N, 1 + T]."""
        import torch

        logits = torch.from_numpy(images).to(self.yes.device) @ self.yes.T / self.temperature
        # Of a softmax, the largest value is exp(largest logit - log Σ exp(logits)).
        return (logits.amax(dim=-1) - logits.logsumexp(dim=-1)).exp().cpu().numpy()

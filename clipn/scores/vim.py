"""Scores that set the probe's logits beside the activations it is computed from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from clipn.scores.base import Array, Evidence
from clipn.scores.probe import OnProbe

BLOCK = 8192
"""Images in double precision at a time."""
NEGLIGIBLE = 1e-10
"""Directions in which the ID images' second moment is a smaller share of the largest hold none of them."""


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
        return logsumexp(self.probe.logits(np.minimum(images, self.clip)), axis=1)


class ViM(OnProbe):
    """Virtual-logit matching (Wang et al., arXiv 2203.10807).

    s(x) = log Σ_j exp(W x + b)_j - α ‖R Rᵀ (x - o)‖, o = -W⁺ b

    W and b are the probe's on features as the tower gives them, with its standardisation inside. R are the
    eigenvectors of the ID images' second moment about o but the D largest, and α is the mean largest logit of the
    ID images divided by their mean residual. D = 1000 from 2048 features on, 512 from 768 on (the paper's two
    settings, for 2048 and 768), and half of them below. D would leave no residual where the ID images span no
    more than D directions, because they are few; then D is half of those.
    """

    name: ClassVar[str] = "ViM"

    def fit(self, evidence: Evidence) -> Self:
        import torch

        super().fit(evidence)
        features = evidence.fit_features(self.takes)
        weight, bias = self.probe.folded()
        self._origin = -np.linalg.pinv(weight) @ bias
        moment = torch.zeros(features.shape[1], features.shape[1], dtype=torch.float64, device=evidence.device)
        for block in _blocks(features):
            x = torch.as_tensor(block - self._origin, device=evidence.device)
            moment += x.T @ x
        values, vectors = torch.linalg.eigh(moment)  # from small to large
        spanned = int((values > NEGLIGIBLE * values[-1]).sum())
        self._residual = vectors[:, : len(values) - _principal(len(values), spanned)].cpu().numpy()
        largest = sum(float(self.probe.logits(block).max(axis=1).sum()) for block in _blocks(features))
        residual = sum(float(self._residual_norm(block).sum()) for block in _blocks(features))
        self.alpha = largest / residual if residual > 0 else 0.0
        return self

    def score(self, images: Array) -> Array:
        energy = logsumexp(self.probe.logits(images), axis=1)
        return (energy - self.alpha * self._residual_norm(images)).astype(np.float32)

    def _residual_norm(self, images: Array) -> NDArray[np.float64]:
        """‖Rᵀ (x - o)‖ [N]; equal to ‖R Rᵀ (x - o)‖, as the columns of R are orthonormal."""
        return np.linalg.norm((images - self._origin) @ self._residual, axis=1)


def _blocks(features: Array) -> Iterator[Array]:
    for start in range(0, len(features), BLOCK):
        yield features[start : start + BLOCK]


def _principal(features: int, spanned: int) -> int:
    """D, dimensions of the principal space."""
    paper = 1000 if features >= 2048 else 512 if features >= 768 else features // 2
    return paper if spanned > paper else spanned // 2

"""Gaussians of one shape, one for each group of features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float32]

FLOOR = 1e-6
"""Smallest variance in any direction, as a share of their mean: it is for directions that the images do not span."""
BLOCK = 8192
"""Images in double precision at a time."""


@dataclass(frozen=True)
class Gaussians:
    """C Gaussians of one covariance Σ on features of length P.

    Attributes:
        origin: subtracted from features before anything else, for the sake of precision [P].
        whiten: [P, P], whiten · whitenᵀ is the inverse of Σ, whose eigenvalues are raised to `FLOOR` of their mean.
        means: whitened means [C, P].
    """

    origin: Tensor
    whiten: Tensor
    means: Tensor

    @classmethod
    def fit(cls, features: Array, groups: NDArray[np.integer], device: str) -> Gaussians:
        """Σ is the mean of the groups' covariances, each divided by its number of images less one.

        Args:
            features: [N, P].
            groups: which Gaussian each image belongs to [N]; none is left out. One with a single image has a mean
                and no say in Σ.
            device: where it is computed.
        """
        counts = np.bincount(groups)
        several = counts > 1
        weights = np.where(several, 1 / np.maximum(counts - 1, 1), 0) / max(several.sum(), 1)
        rows = torch.as_tensor(groups.astype(np.int64), device=device)
        means = torch.zeros(len(counts), features.shape[1], dtype=torch.float64, device=device)
        for part, block in zip(rows.split(BLOCK), _blocks(features, device), strict=True):
            means.index_add_(0, part, block)
        means /= torch.as_tensor(counts, device=device)[:, None]
        covariance = torch.zeros(features.shape[1], features.shape[1], dtype=torch.float64, device=device)
        each = torch.as_tensor(weights, device=device)
        for part, block in zip(rows.split(BLOCK), _blocks(features, device), strict=True):
            centred = block - means[part]
            covariance += (centred * each[part, None]).T @ centred
        values, vectors = torch.linalg.eigh(covariance)
        mean = values.mean()
        whiten = vectors * (values.clamp(min=FLOOR * mean).rsqrt() if mean > 0 else torch.ones_like(values))
        origin = means.mean(dim=0)
        return cls(origin, whiten, (means - origin) @ whiten)

    def distances(self, images: Array) -> Tensor:
        """Squared Mahalanobis distances of images [N, P] to each mean [N, C], in double precision."""
        x = (torch.as_tensor(images, device=self.origin.device).double() - self.origin) @ self.whiten
        squared = (x**2).sum(dim=1, keepdim=True) - 2 * x @ self.means.T + (self.means**2).sum(dim=1)
        return squared.clamp(min=0)  # rounding may leave it below


def _blocks(features: Array, device: str) -> Iterator[Tensor]:
    """All features in double precision, without a copy of all of them."""
    for start in range(0, len(features), BLOCK):
        yield torch.as_tensor(features[start : start + BLOCK], device=device).double()

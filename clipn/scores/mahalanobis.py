"""Mahalanobis distances: one Gaussian for each class of the ID images, all of the same shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from clipn.scores.base import Evidence, Kind
from clipn.utils.arrays import Array

if TYPE_CHECKING:
    from torch import Tensor


class Mahalanobis:
    """Distance to the nearest class (Lee et al., arXiv 1807.03888; so in 2303.05828).

    s(x) = -min_c d_c(x), d_c(x) = (x - μ_c)ᵀ Σ⁻¹ (x - μ_c): the squared distance

    Σ is the mean of the classes' covariances, each divided by its number of images less one, as in the feature
    study's code; Lee et al. divide the scatter of all images by their number, which weights large classes more and
    is proportional for classes of equal size. A class with one image has a mean, but no say in Σ (the study's code
    leaves it out altogether). All is in double precision.

    With fewer images than features Σ is singular, and the study's code has no answer to that. Here no direction
    has less than `clipn.scores.shared_covariance.FLOOR` of the mean variance, so what ID images never do is far from
    all of them. A pseudo-inverse would ignore these directions, and the relative distance with it can prefer OOD
    images, since Σ_0 spans more directions than Σ. If no class has two different images, Σ is the identity.
    """

    name: ClassVar[str] = "Mahalanobis"
    needs: ClassVar[frozenset[str]] = frozenset({"images", "labels"})
    takes: ClassVar[Kind] = "pooled"

    def fit(self, evidence: Evidence) -> Self:
        from clipn.scores.shared_covariance import Gaussians

        assert evidence.labels is not None  # `needs` says so, and `scores.fit` checks it
        self._classes, groups = np.unique(evidence.labels, return_inverse=True)
        self._of_classes = Gaussians.fit(evidence.fit_features(self.takes), groups, evidence.device)
        return self

    def score(self, images: Array) -> Array:
        return -_float32(self._of_classes.distances(images).amin(dim=1))

    def predict(self, images: Array) -> NDArray[np.intp]:
        """Return the class of the least distance; images [N, P] → [N]."""
        return self._classes[self._of_classes.distances(images).argmin(dim=1).cpu().numpy()].astype(np.intp)


class RelativeMahalanobis(Mahalanobis):
    """How much nearer the nearest class is than all images together (Ren et al., arXiv 2106.09022).

    s(x) = -min_c (d_c(x) - d_0(x)), d_0(x) = (x - μ_0)ᵀ Σ_0⁻¹ (x - μ_0)

    μ_0 and Σ_0 are mean and covariance of all N images; Σ_0 is divided by N - 1, as in the feature study's code.
    Ren et al. divide Σ and Σ_0 by N, and pytorch-ood neither, which orders images as theirs; with C classes of
    equal size d_0 weighs (N - C) / (N - 1) times as much there as here.
    """

    name: ClassVar[str] = "rMahalanobis"

    def fit(self, evidence: Evidence) -> Self:
        from clipn.scores.shared_covariance import Gaussians

        super().fit(evidence)
        features = evidence.fit_features(self.takes)
        self._of_all = Gaussians.fit(features, np.zeros(len(features), np.int64), evidence.device)
        return self

    def score(self, images: Array) -> Array:
        nearest = self._of_classes.distances(images).amin(dim=1)
        return _float32(self._of_all.distances(images)[:, 0] - nearest)


def _float32(values: Tensor) -> Array:
    return values.cpu().numpy().astype(np.float32)

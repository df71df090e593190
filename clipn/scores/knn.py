"""Scores from the ID images nearest to an image: with no training, labels or class names at all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from clipn.scores.base import Evidence, Kind
from clipn.utils.arrays import Array, unit_norm

TEMPERATURE = 0.02
CPU_BLOCK = 1024
"""ID images that a CPU compares at a time: few enough for its cache. A GPU takes all, which the search divides."""


class _Neighbours:
    """Soft maximum of the cosines to the k nearest ID images (arXiv 2303.05828).

    s(x) = τ · log(1/k · Σ_{i among the k nearest} exp(cos(x, x_i) / τ)), τ = 0.02

    The study takes the mean without the logarithm; this is the same order in units of a cosine, and for k = 1 it
    is the cosine. With fewer ID images than k, all of them count. The search is exact and in bounded memory: see
    `clipn.features.nearest`, which also says what scikit-learn's takes.

    Attributes:
        predict: the class of most of the k nearest, and of those with equally many the nearest one's; images
            [N, P] → [N]. Only there if the ID images have classes.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"images"})
    takes: ClassVar[Kind] = "pooled"
    predict: Callable[[Array], NDArray[np.intp]]

    def __init__(self, k: int) -> None:
        self.k = k

    def fit(self, evidence: Evidence) -> Self:
        import torch

        features = unit_norm(evidence.fit_features(self.takes), keep_zeros=True)
        self._id_features = torch.as_tensor(features, device=evidence.device)
        if evidence.labels is not None:
            self.predict = partial(self._vote, evidence.labels.astype(np.intp))
        return self

    def score(self, images: Array) -> Array:
        from scipy.special import logsumexp

        cosines, _ = self._nearest(images)
        return (TEMPERATURE * logsumexp(cosines / TEMPERATURE, axis=1, b=1 / cosines.shape[1])).astype(np.float32)

    def _vote(self, labels: NDArray[np.intp], images: Array) -> NDArray[np.intp]:
        votes = labels[self._nearest(images)[1]]
        agreeing = (votes[:, :, None] == votes[:, None, :]).sum(axis=2)
        return votes[np.arange(len(votes)), agreeing.argmax(axis=1)]  # the nearest of those with most votes

    def _nearest(self, images: Array) -> tuple[Array, NDArray[np.int64]]:
        """Return cosines and rows of the nearest ID images, from near to far [N, k]."""
        from clipn.features.nearest import Nearest

        search = Nearest(
            unit_norm(images, keep_zeros=True), -np.inf, min(self.k, len(self._id_features)), self._id_features.device
        )
        on_cpu = self._id_features.device.type == "cpu"
        for block in self._id_features.split(CPU_BLOCK if on_cpu else len(self._id_features)):
            search.add(block)
        return search.ranked()


class OneNN(_Neighbours):
    """Cosine to the nearest ID image, the study's label-free score: s(x) = max_i cos(x, x_i)."""

    name: ClassVar[str] = "1-NN"

    def __init__(self) -> None:
        super().__init__(k=1)


class KNN(_Neighbours):
    """The k nearest ID images instead of one: a single mislabelled or odd ID image no longer vouches for others.

    k = 10 is a choice; the study's code takes 1. The exponential weights the nearest most, so k changes the score
    little (at τ = 0.02 a neighbour that is 0.1 farther counts 1/150), but ten votes classify better than one.
    """

    name: ClassVar[str] = "k-NN"

    def __init__(self, k: int = 10) -> None:
        super().__init__(k)

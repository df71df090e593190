"""Scores from a linear probe on the features of ID images (arXiv 2303.05828)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from clipn.scores.base import Evidence, Kind
from clipn.scores.logits import energy, max_probability
from clipn.utils.arrays import Array

if TYPE_CHECKING:
    from clipn.scores.linear_probe import LinearProbe

_TRAINED: WeakKeyDictionary[Evidence, LinearProbe] = WeakKeyDictionary()


def probe_of(evidence: Evidence) -> LinearProbe:
    """Return the probe on the ID images' classes, trained once for all scores of the same evidence.

    Raises:
        InvalidData: an image's class is not among the class names.
        NonFinite: a feature is NaN or infinite.
    """
    from clipn.scores import linear_probe

    if evidence not in _TRAINED:
        assert evidence.labels is not None  # `needs` says so, and `scores.fit` checks it
        _TRAINED[evidence] = linear_probe.train(
            evidence.fit_features("pooled"), evidence.labels, class_count(evidence), device=evidence.device
        )
    return _TRAINED[evidence]


def class_count(evidence: Evidence) -> int:
    """Return the number of classes of a probe: that of the class names, or of the labels where there are no names."""
    assert evidence.labels is not None
    return int(evidence.labels.max()) + 1 if evidence.yes is None else len(evidence.yes)


class OnProbe:
    """Base of scores from the linear probe on the ID images' classes.

    Attributes:
        probe: set by `fit`.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"images", "labels"})
    takes: ClassVar[Kind] = "pooled"

    def fit(self, evidence: Evidence) -> Self:
        self.probe = probe_of(evidence)
        return self

    def score(self, images: Array) -> Array:
        raise NotImplementedError

    def predict(self, images: Array) -> NDArray[np.intp]:
        """Return the probe's class of images [N, P] → [N]."""
        return self.probe.logits(images).argmax(axis=1)


class ProbeMSP(OnProbe):
    """Maximum softmax probability of the probe (Hendrycks and Gimpel, arXiv 1610.02136; so in 2303.05828).

    s(x) = max_j softmax(W x + b)_j
    """

    name: ClassVar[str] = "Probe-MSP"

    def score(self, images: Array) -> Array:
        return max_probability(self.probe.logits(images))


class ProbeEnergy(OnProbe):
    """Negative free energy of the probe (Liu et al., arXiv 2010.03759): s(x) = log Σ_j exp(W x + b)_j."""

    name: ClassVar[str] = "Probe-Energy"

    def score(self, images: Array) -> Array:
        return energy(self.probe.logits(images))

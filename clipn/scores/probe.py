"""Scores from a linear probe on the features of ID images (arXiv 2303.05828)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from clipn.scores.base import Array, Evidence, Kind

if TYPE_CHECKING:
    from clipn.scores.linear_probe import LinearProbe

BLOCK = 8192
"""Images whose cosines with all classes are in memory at a time."""
_TRAINED: WeakKeyDictionary[Evidence, LinearProbe] = WeakKeyDictionary()


def probe_of(evidence: Evidence) -> LinearProbe:
    """The probe on the ID images' classes, trained once for all scores of the same evidence.

    Raises:
        InvalidData: an image's class is not among the class names.
        NonFinite: a feature is NaN or infinite.
    """
    from clipn.scores import linear_probe

    if evidence not in _TRAINED:
        assert evidence.labels is not None  # `needs` says so, and `scores.fit` checks it
        classes = int(evidence.labels.max()) + 1 if evidence.yes is None else len(evidence.yes)
        _TRAINED[evidence] = linear_probe.train(
            evidence.fit_features("pooled"), evidence.labels, classes, device=evidence.device
        )
    return _TRAINED[evidence]


class OnProbe:
    """Base of scores from the probe that knows the ID images' classes.

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
        """The probe's class of images [N, P] → [N]."""
        return self.probe.logits(images).argmax(axis=1)


class ProbeMSP(OnProbe):
    """Maximum softmax probability of the probe (Hendrycks and Gimpel, arXiv 1610.02136; so in 2303.05828).

    s(x) = max_j softmax(W x + b)_j
    """

    name: ClassVar[str] = "Probe-MSP"

    def score(self, images: Array) -> Array:
        return softmax(self.probe.logits(images), axis=1).max(axis=1)


class ProbeEnergy(OnProbe):
    """Negative free energy of the probe (Liu et al., arXiv 2010.03759): s(x) = log Σ_j exp(W x + b)_j."""

    name: ClassVar[str] = "Probe-Energy"

    def score(self, images: Array) -> Array:
        return logsumexp(self.probe.logits(images), axis=1)


class PLP(ProbeMSP):
    """Pseudo-label probing (later version of arXiv 2303.05828): the probe without labels.

    The probe is trained on what zero-shot classification says of the ID images, ŷ_i = argmax_j cos(x_i, yes_j), and
    scored by its maximum softmax probability. Classes that no image gets are learned to be unlikely. The study
    averages five prompts for the pseudo-labels; here the texts are those of all zero-shot scores.
    """

    name: ClassVar[str] = "PLP"
    needs: ClassVar[frozenset[str]] = frozenset({"images", "yes"})

    def fit(self, evidence: Evidence) -> Self:
        from clipn.scores import linear_probe

        assert evidence.yes is not None  # `needs` says so, and `scores.fit` checks it
        images = evidence.fit_features("image")
        blocks = (images[start : start + BLOCK] for start in range(0, len(images), BLOCK))
        pseudo = np.concatenate([(block @ evidence.yes.T).argmax(axis=1) for block in blocks])
        features = evidence.fit_features(self.takes)
        self.probe = linear_probe.train(features, pseudo, len(evidence.yes), device=evidence.device)
        return self

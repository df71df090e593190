"""The linear probe of the CLIP paper: logistic regression by L-BFGS."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from clipn.scores.base import Evidence
from clipn.scores.probe import ProbeMSP, class_count
from clipn.utils.arrays import Array

if TYPE_CHECKING:
    from clipn.scores.linear_probe import LinearProbe

ITERATIONS = 1000
"""Iterations of L-BFGS at most."""
PER_DECADE, DECADES = 8, 6
"""The strength is a power of 10 from -`DECADES` to `DECADES`, in so many steps each."""
FIRST_STEP = 2 * PER_DECADE
"""Steps between the strengths that are tried first."""
HELD_OUT = 5
"""One of so many images of each class is held out to choose the strength."""
DEFAULT_STRENGTH = 0.316
"""Taken where no class has two images; the one in the example that CLIP's authors give (openai/CLIP, README)."""


class ProbeLBFGS(ProbeMSP):
    """Maximum softmax probability of the CLIP paper's linear probe (Radford et al., arXiv 2103.00020, appendix A.3).

    s(x) = max_j softmax(W x + b)_j, W and b minimise C · Σ_i cross-entropy_i + ½ ‖W‖²

    The paper fits scikit-learn's logistic regression to the features before the projection, as they are, with at
    most 1000 iterations of L-BFGS, and chooses the strength of the L2 penalty on a validation split. `Probe-MSP`
    is the recipe of the feature study (arXiv 2303.05828) instead: Adam for a fixed number of steps on standardised
    features, which a GPU computes too. Published numbers come from both, so each has a name of its own, and nothing
    changes for those who do not write `Probe-LBFGS` into `evaluate.methods`. It is fitted on the CPU wherever the
    evidence is. On one thread, with the search for the strength, 2,000 x 128 features of 200 classes take 8 s (the
    study's recipe 21 s), and 5,000 x 512 features of 100 classes 11 s (12 s).
    """

    name: ClassVar[str] = "Probe-LBFGS"

    def fit(self, evidence: Evidence) -> Self:
        assert evidence.labels is not None  # `needs` says so, and `scores.fit` checks it
        self.probe = train(evidence.fit_features(self.takes), evidence.labels, class_count(evidence))
        return self


def train(features: Array, labels: NDArray[np.integer], classes: int, *, seed: int = 0) -> LinearProbe:
    """Choose C on images held out, then fit all images with it.

    Each class holds out a fifth of its images, at least one, but not its only one. C is chosen by `search`, and the
    result is of all images, as in the paper.

    Args:
        features: [N, P].
        labels: class of each [N], in [0, classes).
        classes: those without an image get probability 0.
        seed: decides which images are held out.

    Raises:
        InvalidData: a label is not one of the classes.
        NonFinite: a feature is NaN or infinite.
    """
    from clipn.scores.linear_probe import check_images

    check_images(features, labels, classes)
    held_out = _held_out(labels, seed)
    validation, validation_labels = features[held_out], labels[held_out]

    def accuracy(strength: float) -> float:
        probe = logistic_regression(features[~held_out], labels[~held_out], classes, strength)
        return float((probe.logits(validation).argmax(axis=1) == validation_labels).mean())

    strength = search(accuracy) if held_out.any() else DEFAULT_STRENGTH
    return logistic_regression(features, labels, classes, strength)


def search(accuracy: Callable[[float], float]) -> float:
    """Return the C of the highest accuracy, by the paper's parametric binary search.

    From seven values between 1e-6 and 1e6 on, the steps around the best are halved until there are eight in a
    decade: 15 fits instead of 97. Of equally good ones the smallest is taken, which is the strongest penalty.
    The paper gives the range as that of λ, which is 1 / C; it is the same range.
    """
    end = PER_DECADE * DECADES
    accuracies: dict[int, float] = {}

    def at(exponent: int) -> float:
        if exponent not in accuracies:
            accuracies[exponent] = accuracy(10 ** (exponent / PER_DECADE))
        return accuracies[exponent]

    step = FIRST_STEP
    best = max(range(-end, end + 1, step), key=at)  # of equal ones, the first
    while step > 1:
        step //= 2
        best = max((e for e in (best - step, best, best + step) if abs(e) <= end), key=at)
    return float(10 ** (best / PER_DECADE))


def logistic_regression(features: Array, labels: NDArray[np.integer], classes: int, strength: float) -> LinearProbe:
    """Fit scikit-learn's `LogisticRegression` with C = `strength`; a class without an image has a bias of -∞."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    from clipn.scores.linear_probe import LinearProbe

    size = features.shape[1]
    present = np.unique(labels)
    weight, bias = np.zeros((classes, size), np.float32), np.full(classes, -np.inf, np.float32)
    if len(present) == 1:
        bias[present] = 0
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the paper stops after as many iterations too
            model = LogisticRegression(C=strength, max_iter=ITERATIONS).fit(features, labels)
        # Of two classes scikit-learn fits the difference.
        two = np.array([[-0.5], [0.5]]) if len(present) == 2 else None
        weight[present] = model.coef_ if two is None else two * model.coef_
        bias[present] = model.intercept_ if two is None else two[:, 0] * model.intercept_
    return LinearProbe(np.zeros(size, np.float32), np.ones(size, np.float32), weight, bias, losses=())


def _held_out(labels: NDArray[np.integer], seed: int) -> NDArray[np.bool_]:
    """Return which images choose the strength [N]: of each class the first ones in an order drawn at random."""
    order = np.random.default_rng(seed).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels)
    rank = np.empty(len(labels), np.intp)
    rank[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank < np.where(counts > 1, np.maximum(counts // HELD_OUT, 1), 0)[labels]

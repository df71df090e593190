"""What several methods read off the logits of a classifier, whatever the classifier is."""

from __future__ import annotations

from clipn.utils.arrays import Array

# SciPy is imported where it computes: names and needs of scores are read by commands that compute no score.


def max_probability(logits: Array) -> Array:
    """Return the largest softmax probability of logits [N, C] → [N]: max_j softmax(logits)_j."""
    from scipy.special import softmax

    return softmax(logits, axis=1).max(axis=1)


def energy(logits: Array) -> Array:
    """Return the negative free energy of logits [N, C] → [N]: log Σ_j exp(logits_j)."""
    from scipy.special import logsumexp

    return logsumexp(logits, axis=1)

"""A small case that tests of scores share: 30 ID images of 3 classes with 6 features, 5 images to score, a probe."""

from __future__ import annotations

import numpy as np

from clipn.features.rows import FeatureBatch
from clipn.scores.base import Array, Evidence
from clipn.scores.linear_probe import LinearProbe

LABELS = np.repeat(np.arange(3, dtype=np.int32), 10)


def waves(rows: int, columns: int, phase: float) -> Array:
    """Numbers without a pattern that any machine and version makes alike."""
    steps = np.arange(rows * columns, dtype=np.float64).reshape(rows, columns)
    return np.sin(steps**2 / 7 + phase).astype(np.float32)


FEATURES = 3 * waves(3, 6, 0.5)[LABELS] + waves(30, 6, 0.1) * np.arange(1, 7, dtype=np.float32)
IMAGES = 4 * waves(5, 6, 0.9)
PROBE = LinearProbe(
    mean=waves(1, 6, 0.3)[0],
    inverse_std=1 / np.arange(1, 7, dtype=np.float32),
    weight=2 * waves(3, 6, 0.7),
    bias=waves(1, 3, 0.2)[0],
    losses=(),
)


def evidence(features: Array = FEATURES, labels: np.ndarray | None = LABELS, yes: Array | None = None) -> Evidence:
    """Evidence with ID images of these features, which are also their projected ones."""
    keys = [str(row) for row in range(len(features))]
    label = None if labels is None else np.asarray(labels, np.int32)
    return Evidence(yes=yes, images=FeatureBatch(keys, features, label=label, pooled=features))


DEGENERATE = {
    "one image a class": (waves(3, 6, 0.1), [0, 1, 2]),
    "one image": (waves(1, 6, 0.1), [0]),
    "one class": (waves(8, 6, 0.1), [0] * 8),
    "equal images": (np.repeat(waves(3, 6, 0.1), 4, axis=0), np.repeat([0, 1, 2], 4)),
    "all images equal": (np.repeat(waves(1, 6, 0.1), 6, axis=0), [0, 0, 0, 1, 1, 1]),
    "constant features": (FEATURES * [1, 1, 1, 1, 0, 0] + np.array([0, 0, 0, 0, 0, 7]), LABELS),
    "zeros": (np.zeros((6, 6)), [0, 0, 0, 1, 1, 1]),
    "fewer images than features": (FEATURES[::7], LABELS[::7]),
    "classes without images": (FEATURES, LABELS + 4),
}
"""Name → features and labels of ID images with which a matrix is singular, a variance zero or a class empty."""


def degenerate(name: str) -> Evidence:
    features, labels = DEGENERATE[name]
    return evidence(features.astype(np.float32), np.asarray(labels))

"""How well a score separates in-distribution (ID) from out-of-distribution (OOD) images.

Scores are "higher = more in-distribution" everywhere. FPR95 has three conventions in the literature
that differ by several points on the same scores, so the convention is always named.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import roc_auc_score, roc_curve

from clipn.errors import InvalidData, NonFinite

Floats = NDArray[np.float64]

CONVENTIONS = ("id-interpolated", "id-nearest", "ood-first")
"""Who uses which: CLIPN and PLP; MCM, NegLabel, CSP and NegRefine; OpenOOD and pytorch-ood."""


def auroc(id_scores: ArrayLike, ood_scores: ArrayLike) -> float:
    """Probability that an ID image scores higher than an OOD image, ties counting one half.

    Args:
        id_scores: [N], higher = more in-distribution.
        ood_scores: [M].

    Raises:
        InvalidData: one side is empty.
        NonFinite: a score is NaN or infinite.
    """
    inliers, outliers = _checked(id_scores, ood_scores)
    return float(roc_auc_score(_labels(inliers, outliers), np.concatenate([inliers, outliers])))


def fpr_at_tpr(
    id_scores: ArrayLike, ood_scores: ArrayLike, tpr: float = 0.95, convention: str = "id-interpolated"
) -> float:
    """False positive rate at the threshold where the true positive rate is `tpr`.

    Args:
        id_scores: [N], higher = more in-distribution.
        ood_scores: [M].
        tpr: the wanted true positive rate, 0..1.
        convention: `id-interpolated`: ID is the positive class, the ROC curve is interpolated linearly
            at `tpr` (CLIPN). `id-nearest`: ID is positive, the threshold whose recall is nearest `tpr`
            (MCM). `ood-first`: OOD is positive, the first threshold that reaches `tpr` (OpenOOD).

    Raises:
        ValueError: an unknown convention.
        InvalidData, NonFinite: as `auroc`.
    """
    inliers, outliers = _checked(id_scores, ood_scores)
    if convention == "id-interpolated":
        false_positive, true_positive, _ = _roc(inliers, outliers)
        return float(np.interp(tpr, true_positive, false_positive))
    if convention == "id-nearest":
        false_positive, true_positive, _ = _roc(inliers, outliers)
        # Of thresholds equally near, the highest: it accepts the fewest outliers.
        return float(false_positive[np.argmin(np.abs(true_positive - tpr))])
    if convention == "ood-first":
        false_positive, true_positive, _ = _roc(-outliers, -inliers)
        return float(false_positive[np.argmax(true_positive >= tpr)])
    raise ValueError(f"unknown FPR convention {convention!r}; known: {', '.join(CONVENTIONS)}")


def fpr95_key(convention: str) -> str:
    """The name under which FPR95 of this convention stands in metric files."""
    return f"fpr95_{convention.replace('-', '_')}"


def accuracy(predicted: ArrayLike, labels: ArrayLike) -> float:
    """Share of `predicted` class indices [N] that equal `labels` [N]."""
    return float(np.mean(np.asarray(predicted) == np.asarray(labels)))


def _roc(positive: Floats, negative: Floats) -> tuple[Floats, Floats, Floats]:
    """All points of the ROC curve: false positive rate, true positive rate, threshold."""
    # Dropping collinear points would change which thresholds exist, which two conventions depend on.
    return roc_curve(_labels(positive, negative), np.concatenate([positive, negative]), drop_intermediate=False)


def _labels(positive: Floats, negative: Floats) -> Floats:
    return np.concatenate([np.ones(len(positive)), np.zeros(len(negative))])


def _checked(id_scores: ArrayLike, ood_scores: ArrayLike) -> tuple[Floats, Floats]:
    arrays = []
    for kind, values in (("ID", id_scores), ("OOD", ood_scores)):
        array = np.asarray(values, dtype=np.float64)
        if array.ndim != 1 or array.size == 0:
            raise InvalidData(f"{kind} scores have shape {array.shape}; a list of at least one score is needed")
        bad = np.flatnonzero(~np.isfinite(array))
        if bad.size:
            raise NonFinite(f"{bad.size} of {array.size} {kind} scores are not finite, the first at index {bad[0]}")
        arrays.append(array)
    return arrays[0], arrays[1]

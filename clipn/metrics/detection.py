"""How well a score separates in-distribution (ID) from out-of-distribution (OOD) images.

Scores are "higher = more in-distribution" everywhere. FPR95 is the false positive rate (FPR) where the true positive
rate (TPR) is 95 %. It has three conventions in the literature that differ by several points on the same scores, so
the convention is always named.

All come from one sort. scikit-learn has AUROC and average precision in calls that sort anew, and of FPR95 only the
curve: for the six numbers of `measures` of 50,000 ID and 50,000 OOD scores its calls take 20 times as long on one
thread (0.23 s and 0.012 s, `python -m benchmarks.metrics_speed`). The tests compare both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from clipn.errors import InvalidData, NonFinite
from clipn.utils.arrays import Counts, Floats

AVERAGE = "average"
"""The name under which the mean over OOD sets stands among them in metric files."""
CONVENTIONS = ("id-interpolated", "id-nearest", "ood-first")
"""Who uses which: CLIPN and PLP; MCM, NegLabel, CSP and NegRefine; OpenOOD and pytorch-ood."""


def auroc(id_scores: ArrayLike, ood_scores: ArrayLike) -> float:
    """Return the area under the ROC curve.

    It is the probability that an ID image scores higher than an OOD image, ties counting one half.

    Args:
        id_scores: [N], higher = more in-distribution.
        ood_scores: [M].

    Raises:
        InvalidData: one side is empty.
        NonFinite: a score is NaN or infinite.
    """
    return _Curve.of(id_scores, ood_scores).auroc()


def aupr_in(id_scores: ArrayLike, ood_scores: ArrayLike) -> float:
    """Return average precision with ID as the positive class: Σ (R_n - R_{n-1}) · P_n over the distinct scores.

    This is scikit-learn's definition. It depends on how many images either side has; a score that does not
    depend on the image gets N / (N + M).

    Args, Raises: as `auroc`.
    """
    return _Curve.of(id_scores, ood_scores).aupr_in()


def aupr_out(id_scores: ArrayLike, ood_scores: ArrayLike) -> float:
    """Return average precision as `aupr_in`, with OOD as the positive class and all scores negated.

    Args, Raises: as `auroc`.
    """
    return _Curve.of(id_scores, ood_scores).aupr_out()


def fpr_at_tpr(
    id_scores: ArrayLike, ood_scores: ArrayLike, tpr: float = 0.95, convention: str = "id-interpolated"
) -> float:
    """Return the false positive rate at the threshold where the true positive rate is `tpr`.

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
    check_convention(convention)
    return _Curve.of(id_scores, ood_scores).fpr_at_tpr(tpr, convention)


def measures(id_scores: ArrayLike, ood_scores: ArrayLike) -> dict[str, float]:
    """Return all of the above from one sort: `auroc`, `aupr_in`, `aupr_out`, and FPR95 of each convention.

    The names of the last three are those of `fpr95_key`.

    Args, Raises: as `auroc`.
    """
    curve = _Curve.of(id_scores, ood_scores)
    return {
        "auroc": curve.auroc(),
        "aupr_in": curve.aupr_in(),
        "aupr_out": curve.aupr_out(),
        **{fpr95_key(convention): curve.fpr_at_tpr(0.95, convention) for convention in CONVENTIONS},
    }


def fpr95_key(convention: str) -> str:
    """Return the name under which FPR95 of this convention stands in metric files."""
    return f"fpr95_{convention.replace('-', '_')}"


def accuracy(predicted: ArrayLike, labels: ArrayLike) -> float:
    """Return the share of `predicted` class indices [N] that equal `labels` [N]."""
    return float(np.mean(np.asarray(predicted) == np.asarray(labels)))


def check_convention(convention: str) -> None:
    """Raise ValueError unless this is one of `CONVENTIONS`."""
    if convention not in CONVENTIONS:
        raise ValueError(f"unknown FPR convention {convention!r}; known: {', '.join(CONVENTIONS)}")


def checked_scores(scores: ArrayLike, kind: str) -> Floats:
    """Return scores [N] in double precision.

    Args:
        scores: of at least one image.
        kind: whose scores, for messages.

    Raises:
        InvalidData: there is no score, or they are not a list.
        NonFinite: a score is NaN or infinite.
    """
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise InvalidData(f"{kind} scores have shape {array.shape}; a list of at least one score is needed")
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise NonFinite(f"{bad.size} of {array.size} {kind} scores are not finite, the first at index {bad[0]}")
    return array


@dataclass(frozen=True, eq=False)
class _Curve:
    """How many images each threshold keeps; with N ID and M OOD images, all points of the ROC curve.

    There is one threshold above all scores, which keeps none, and then one at each of the T distinct
    scores, from the highest down. Points on a straight line are not dropped: two conventions of FPR95
    depend on which thresholds exist. Counts are exact where rates would round.

    Attributes:
        id_kept: ID images with the score of the threshold or a higher one [1 + T], from 0 to N.
        ood_kept: OOD images likewise [1 + T], from 0 to M.
    """

    id_kept: Counts
    ood_kept: Counts

    @classmethod
    def of(cls, id_scores: ArrayLike, ood_scores: ArrayLike) -> _Curve:
        of_id = checked_scores(id_scores, "ID")
        scores = np.concatenate([of_id, checked_scores(ood_scores, "OOD")])
        order = np.argsort(scores)[::-1]
        scores = scores[order]
        lowest = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
        kept = np.cumsum(order < len(of_id))[lowest]
        return cls(np.append(0, kept), np.append(0, lowest + 1 - kept))

    def auroc(self) -> float:
        # For each OOD image, the ID images above it and those above or equal: twice the pairs won.
        twice_won = int(np.dot(np.diff(self.ood_kept), self.id_kept[:-1] + self.id_kept[1:]))
        return twice_won / (2 * int(self.id_kept[-1]) * int(self.ood_kept[-1]))

    def aupr_in(self) -> float:
        return _average_precision(self.id_kept, self.ood_kept)

    def aupr_out(self) -> float:
        return _average_precision(*self._refused())

    def fpr_at_tpr(self, tpr: float, convention: str) -> float:
        if convention == "ood-first":
            positive, negative = self._refused()
            return float(negative[np.argmax(positive / positive[-1] >= tpr)] / negative[-1])
        recall = self.id_kept / self.id_kept[-1]
        if convention == "id-nearest":
            # Of thresholds equally near, the highest: it keeps the fewest OOD images.
            return float(self.ood_kept[np.argmin(np.abs(recall - tpr))] / self.ood_kept[-1])
        return float(np.interp(tpr, recall, self.ood_kept / self.ood_kept[-1]))

    def _refused(self) -> tuple[Counts, Counts]:
        """Return OOD and ID images that are not kept, from the lowest threshold up: the curve of negated scores."""
        return self.ood_kept[-1] - self.ood_kept[::-1], self.id_kept[-1] - self.id_kept[::-1]


def _average_precision(positive: Counts, negative: Counts) -> float:
    precision = positive[1:] / (positive[1:] + negative[1:])
    return float(np.dot(np.diff(positive), precision) / positive[-1])

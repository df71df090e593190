"""How far AUROC and FPR95 would move with other images of the same kind: percentile bootstrap intervals.

Nothing is sorted per resample. How often each image is drawn gives counts over the distinct scores, and
every metric is a lookup in their running sums. AUROC and FPR95 see an OOD score only through its place among
the ID scores, so the OOD side is reduced to places once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipn.errors import InvalidData
from clipn.metrics.detection import AVERAGE, check_convention, checked_scores
from clipn.utils.arrays import Counts, Floats

CELLS = 1 << 20
"""Counts held at a time, of images or distinct scores times resamples: some tens of MB with all that is derived."""
TPR = 0.95


@dataclass(frozen=True)
class Interval:
    """Ends of the intervals of both metrics, as fractions."""

    auroc_low: float
    auroc_high: float
    fpr95_low: float
    fpr95_high: float

    def as_json(self) -> dict[str, float]:
        """Return the interval as it stands in metric files."""
        return asdict(self)


def intervals(
    id_scores: ArrayLike,
    ood_scores: Mapping[str, ArrayLike],
    *,
    replicates: int,
    seed: int,
    fpr_convention: str,
    confidence: float = 0.95,
) -> dict[str, Interval]:
    """Return percentile bootstrap intervals (Efron and Tibshirani, 1993, chapter 13) of AUROC and FPR95.

    In each replicate the ID images are drawn once with replacement and shared by all OOD sets, as they are in
    the metrics themselves; each OOD set is drawn on its own. The average is taken over the sets within a
    replicate. The same seed draws the same images for every method, and those drawn of one OOD set do not
    depend on which others there are.

    Args:
        id_scores: [N], higher = more in-distribution.
        ood_scores: OOD set → [M].
        replicates: number of resamples.
        seed: of the drawing, not negative.
        fpr_convention: one of `clipn.metrics.CONVENTIONS`.
        confidence: the share of the replicates between low and high.

    Returns:
        OOD set → its intervals, and `"average"` → those of the mean over the sets.

    Raises:
        ValueError: an unknown convention, or no replicates.
        InvalidData: there is no OOD set, one is called "average", or a set has no scores.
        NonFinite: a score is NaN or infinite.
    """
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    values = resampled(id_scores, ood_scores, replicates=replicates, seed=seed, fpr_convention=fpr_convention)
    values[AVERAGE] = np.mean(list(values.values()), axis=0)
    ends = {name: np.quantile(both, tails, axis=1) for name, both in values.items()}
    return {
        name: Interval(float(low[0]), float(high[0]), float(low[1]), float(high[1]))
        for name, (low, high) in ends.items()
    }


def resampled(
    id_scores: ArrayLike, ood_scores: Mapping[str, ArrayLike], *, replicates: int, seed: int, fpr_convention: str
) -> dict[str, Floats]:
    """Return the replicates behind `intervals`: OOD set → AUROC and FPR95 of each, [2, replicates].

    Replicate r draws the r-th row of `draws`, so it equals `clipn.metrics` on `scores[row]`.

    Args, Raises: as `intervals`.
    """
    check_convention(fpr_convention)
    if replicates < 1:
        raise ValueError(f"{replicates} replicates; at least one is needed")
    if not ood_scores or AVERAGE in ood_scores:
        raise InvalidData(f"OOD sets are {sorted(ood_scores)}; at least one is needed, and none may be {AVERAGE!r}")
    distinct, group = np.unique(checked_scores(id_scores, "ID"), return_inverse=True)
    sides = {name: _OODPlaces.of(distinct, checked_scores(scores, name)) for name, scores in ood_scores.items()}
    rows = max(1, CELLS // max(len(group), *(len(side.group) for side in sides.values())))
    id_counts = _counts(group, len(distinct), draws(len(group), replicates, seed, None, rows))
    ood_counts = [
        _counts(side.group, len(side.place), draws(len(side.group), replicates, seed, name, rows))
        for name, side in sides.items()
    ]
    values: dict[str, list[Floats]] = {name: [] for name in sides}
    for ids, *oods in zip(id_counts, *ood_counts, strict=True):
        id_below = _running(ids)
        for (name, side), counts in zip(sides.items(), oods, strict=True):
            values[name].append(_measure(id_below, counts, side, fpr_convention))
    return {name: np.concatenate(parts, axis=1) for name, parts in values.items()}


def draws(
    images: int, replicates: int, seed: int, ood_set: str | None, rows: int | None = None
) -> Iterator[NDArray[np.int64]]:
    """Yield which images each replicate takes: [replicates, images] indices, in blocks of `rows` replicates.

    Args:
        images: in the set.
        replicates: number of resamples.
        seed: of the drawing.
        ood_set: name of the OOD set; None for the ID set.
        rows: replicates at a time; None gives all at once. What is drawn does not depend on it.
    """
    # Bytes of the name, not its position: a set is drawn alike whatever other sets there are.
    random = np.random.default_rng([seed, *(ood_set or "").encode()])
    rows = rows or replicates
    for start in range(0, replicates, rows):
        yield random.integers(images, size=(min(rows, replicates - start), images))


@dataclass(frozen=True, eq=False)
class _OODPlaces:
    """OOD scores as places among the K distinct ID scores.

    A score between two of them has place 2k, with k ID scores below; one that equals the k-th has 2k + 1.

    Attributes:
        place: the C distinct places that occur, ascending [C], 0..2K.
        group: which of them each image has [M].
    """

    place: Counts
    group: Counts

    @classmethod
    def of(cls, distinct: Floats, ood_scores: Floats) -> _OODPlaces:
        places = np.searchsorted(distinct, ood_scores, "left") + np.searchsorted(distinct, ood_scores, "right")
        return cls(*np.unique(places, return_inverse=True))

    @property
    def ids_below(self) -> Counts:
        """Return how many distinct ID scores are lower [C]."""
        return self.place // 2

    @property
    def ids_up_to(self) -> Counts:
        """Return how many distinct ID scores are lower or equal [C]."""
        return (self.place + 1) // 2


def _counts(group: Counts, groups: int, blocks: Iterator[NDArray[np.int64]]) -> Iterator[Counts]:
    """Yield how many of the drawn images [R, N] are of each group [R, groups], block by block."""
    for drawn in blocks:
        rows = len(drawn)
        flat = group[drawn] + groups * np.arange(rows)[:, None]
        yield np.bincount(flat.ravel(), minlength=rows * groups).reshape(rows, groups)


def _running(counts: Counts) -> Counts:
    """Return for counts [R, K] how many are below each position [R, K + 1]."""
    sums = np.zeros((len(counts), counts.shape[1] + 1), np.int64)
    np.cumsum(counts, axis=1, out=sums[:, 1:])
    return sums


def _measure(id_below: Counts, counts: Counts, side: _OODPlaces, convention: str) -> Floats:
    """Return AUROC and FPR95 [2, R] of R replicates.

    Args:
        id_below: ID images below each distinct ID score, and in all [R, K + 1].
        counts: OOD images in each place [R, C].
        side: what the places are.
        convention: of FPR95.
    """
    ids, oods = int(id_below[0, -1]), int(counts[0].sum())
    # For each OOD image, the ID images above it and those above or equal: twice the pairs won.
    above = 2 * ids - id_below[:, side.ids_below] - id_below[:, side.ids_up_to]
    auroc = (counts * above).sum(axis=1) / (2 * ids * oods)
    fpr = _ood_first if convention == "ood-first" else partial(_id_positive, convention=convention)
    return np.stack([auroc, fpr(id_below, _running(counts), side)])


def _ood_first(id_below: Counts, ood_below: Counts, side: _OODPlaces) -> Floats:
    """Return FPR95 at the lowest place with enough OOD images up to it; ID images up to there are refused too."""
    ids, oods = int(id_below[0, -1]), int(ood_below[0, -1])
    needed = int(np.argmax(np.arange(oods + 1) / oods >= TPR))
    place = np.count_nonzero(ood_below < needed, axis=1) - 1
    return id_below[np.arange(len(id_below)), side.ids_up_to[place]] / ids


def _id_positive(id_below: Counts, ood_below: Counts, side: _OODPlaces, convention: str) -> Floats:
    """Return FPR95 at the ID score where recall, from the highest score down, first exceeds 95 %, or next to it."""
    ids, oods, row = int(id_below[0, -1]), int(ood_below[0, -1]), np.arange(len(id_below))
    # Rates are compared in floating point, so that equality is decided as on the curve of `clipn.metrics`.
    at_most = int(np.searchsorted(np.arange(ids + 1) / ids, TPR, side="right")) - 1
    crossing = np.count_nonzero(id_below < ids - at_most, axis=1) - 1
    recall_before, recall = ((ids - id_below[row, score]) / ids for score in (crossing + 1, crossing))

    def kept(place: Counts) -> Floats:
        """Return the share of the OOD images in this place or a higher one."""
        return (oods - ood_below[row, np.searchsorted(side.place, place)]) / oods

    fpr = kept(2 * crossing + 1)
    if convention == "id-interpolated":
        fpr_before = kept(2 * crossing + 2)
        return (fpr - fpr_before) / (recall - recall_before) * (TPR - recall_before) + fpr_before
    # Of thresholds with the recall before the crossing, the highest is at the next ID score that was drawn.
    drawn = np.count_nonzero(id_below <= id_below[row, crossing + 1][:, None], axis=1) - 1
    return np.where(np.abs(recall_before - TPR) <= np.abs(recall - TPR), kept(2 * drawn + 1), fpr)

"""Whether one method's AUROC is higher than another's on the same images: DeLong's test, over sets and seeds.

DeLong, DeLong and Clarke-Pearson (Biometrics 44, 1988) write AUROC as a mean over ID images and as a mean over
OOD images; how these structural components scatter gives its variance, and their differences between two methods
that of the difference. Sun and Xu (IEEE Signal Processing Letters 21, 2014) get all components from mid-ranks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit
from scipy.stats import rankdata

from clipn.errors import InvalidData
from clipn.metrics.detection import checked_scores
from clipn.utils.arrays import Floats


@dataclass(frozen=True, eq=False)
class Run:
    """Scores of one method with one training seed; higher = more in-distribution.

    Attributes:
        id: of the ID images [N].
        ood: OOD set → of its images [M].
    """

    id: ArrayLike
    ood: Mapping[str, ArrayLike]


@dataclass(frozen=True)
class Comparison:
    """AUROC of the first method minus that of the second, as a fraction.

    Attributes:
        difference: mean over OOD sets and runs.
        low, high: 95 % interval of the difference.
        p: two-sided, of the hypothesis that there is none.
    """

    difference: float
    low: float
    high: float
    p: float


def compare(first: Sequence[Run], second: Sequence[Run]) -> Comparison:
    """Test whether two methods differ in AUROC, averaged over OOD sets and runs, on the same images.

    Images are a sample, and so are training seeds. The variance is the sum of DeLong's, of components averaged
    over runs (and those of ID images also over sets), and of the variance of the difference over runs divided
    by their number. Runs of both methods are paired by position; a method with one run does not vary. What a
    seed changes on single images is in both parts, which makes the interval rather too wide.

    One run on each side gives DeLong's test with its normal distribution. Few runs tell little about how runs
    vary, and a normal distribution would take luck with seeds for a difference of methods; so with several runs it
    is Student's, with the degrees of freedom of Satterthwaite (Biometrics Bulletin 2, 1946) and DeLong's part taken
    as known: from the number of runs less one, where seeds matter most, to infinity, where images do.

    Args:
        first: runs of one method; every run scores the same images in the same order.
        second: runs of the other, as many or one, or any number where `first` is one.

    Raises:
        InvalidData: the runs have not the same OOD sets with the same numbers of images, a set has fewer than
            two images, or the methods have several runs each but not equally many.
        NonFinite: a score is NaN or infinite.
    """
    runs = max(len(first), len(second))
    if min(len(first), len(second)) not in (1, runs):
        raise InvalidData(
            f"{len(first)} and {len(second)} runs cannot be paired; compare equally many seeds, or one with many"
        )
    _check_images([*first, *second])
    ours, theirs = ([_Placements.of(run) for run in side] for side in (first, second))
    pairs = zip(ours * (runs // len(ours)), theirs * (runs // len(theirs)), strict=True)
    estimate = _Estimate.of([a - b for a, b in pairs])
    difference, margin = estimate.mean, estimate.margin
    return Comparison(difference, difference - margin, difference + margin, estimate.p)


def interval(runs: Sequence[Run]) -> tuple[float, float, float]:
    """Return AUROC of one method averaged over OOD sets and runs, and the ends of its 95 % interval, within 0..1.

    Args:
        runs: at least one; every run scores the same images in the same order.

    Raises:
        As `compare`.
    """
    _check_images(runs)
    estimate = _Estimate.of([_Placements.of(run) for run in runs])
    auroc, margin = estimate.mean, estimate.margin
    return auroc, max(auroc - margin, 0.0), min(auroc + margin, 1.0)


@dataclass(frozen=True, eq=False)
class _Placements:
    """How many images of the other side lie below each image, or two methods' difference of that.

    Ties count one half. The numbers are multiples of one half, so sums and differences are exact.

    Attributes:
        id: OOD set → number of its images below each ID image [N].
        ood: OOD set → number of ID images below each of its images [M]; how these scatter is how those above do.
    """

    id: dict[str, Floats]
    ood: dict[str, Floats]

    @classmethod
    def of(cls, run: Run) -> _Placements:
        id_scores = checked_scores(run.id, "ID")
        among_ids = rankdata(id_scores)
        ids, oods = {}, {}
        for name, scores in run.ood.items():
            ood_scores = checked_scores(scores, name)
            # The rank among all less the rank on one's own side counts those of the other side.
            among_all = rankdata(np.concatenate([id_scores, ood_scores]))
            ids[name] = among_all[: len(id_scores)] - among_ids
            oods[name] = among_all[len(id_scores) :] - rankdata(ood_scores)
        return cls(ids, oods)

    def __sub__(self, other: _Placements) -> _Placements:
        return _Placements(
            {name: values - other.id[name] for name, values in self.id.items()},
            {name: values - other.ood[name] for name, values in self.ood.items()},
        )


@dataclass(frozen=True)
class _Estimate:
    """AUROC, or a difference, averaged over OOD sets and runs.

    Attributes:
        mean: the average.
        error: its standard error.
        freedom: degrees of freedom of the error.
    """

    mean: float
    error: float
    freedom: float

    @classmethod
    def of(cls, runs: Sequence[_Placements]) -> _Estimate:
        sets = list(runs[0].ood)
        sizes = {name: len(runs[0].ood[name]) for name in sets}
        per_run = [np.mean([run.id[name].mean() / sizes[name] for name in sets]) for run in runs]
        below = [np.sum([run.id[name] for run in runs], axis=0) / sizes[name] for name in sets]
        id_components = np.sum(below, axis=0) / (len(runs) * len(sets))
        images = len(id_components)
        of_images = id_components.var(ddof=1) / images
        for name in sets:
            ood_components = np.sum([run.ood[name] for run in runs], axis=0) / (len(runs) * images * len(sets))
            of_images += ood_components.var(ddof=1) / sizes[name]
        of_runs = np.var(per_run, ddof=1) / len(runs) if len(runs) > 1 else 0.0
        variance = of_images + of_runs
        freedom = (len(runs) - 1) * (variance / of_runs) ** 2 if of_runs else inf
        return cls(float(np.mean(per_run)), sqrt(variance), float(freedom))

    @property
    def margin(self) -> float:
        """Return half the width of the 95 % interval."""
        return float(stdtrit(self.freedom, 0.975)) * self.error

    @property
    def p(self) -> float:
        """Return the two-sided p of the hypothesis that the mean is 0."""
        if not self.error:
            return 0.0 if self.mean else 1.0
        return float(2 * stdtr(self.freedom, -abs(self.mean) / self.error))


def _check_images(runs: Sequence[Run]) -> None:
    """Refuse what cannot be compared image by image."""
    if not runs:
        raise InvalidData("there is no run to compare")
    counts = [
        {"ID images": np.size(run.id), **{name: np.size(scores) for name, scores in run.ood.items()}} for run in runs
    ]
    for other in counts[1:]:
        if other != counts[0]:
            raise InvalidData(
                f"runs scored other images: {counts[0]} and {other}; evaluate them on the same sets with 'dvc repro'"
            )
    few = [name for name, number in counts[0].items() if number < 2]
    if few or len(counts[0]) == 1:
        what = f"fewer than two scores in {', '.join(few)}" if few else "no OOD set"
        raise InvalidData(f"{what}: no variance can be estimated; take more images")

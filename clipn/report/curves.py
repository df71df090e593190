"""The data of the plots, thinned to what a picture can show, and the same data as CSV for `dvc plots`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from clipn.report.inputs.score_files import Scores
from clipn.report.summary import AVERAGE, BenchmarkSummary

Floats = NDArray[np.float64]

ROC_POINTS = 200
BINS = 40
TRAINING_POINTS = 200
MOST_DRAWN = 6
"""Methods that are drawn where none of those that were asked for was measured."""


@dataclass(frozen=True)
class Histogram:
    """Densities per unit of the score: each times the bin width sums to one. All are [bins]."""

    centres: Floats
    id: Floats
    ood: Floats


def drawn(wanted: Sequence[str], measured: Mapping[str, float]) -> tuple[str, ...]:
    """Return which of the `measured` methods (name → average AUROC) are drawn: those wanted, else the best few."""
    if chosen := tuple(name for name in wanted if name in measured):
        return chosen
    return tuple(sorted(measured, key=lambda name: -measured[name])[:MOST_DRAWN])


def drawn_of(wanted: Sequence[str], benchmark: BenchmarkSummary) -> tuple[str, ...]:
    """Return which rows of one benchmark are drawn: with a method also those of imported models that use it."""
    own = drawn(wanted, {method.name: method.auroc[AVERAGE].mean for method in benchmark.own_methods})
    others = [method.name for method in benchmark.methods if method.imported and method.base in own]
    return (*own, *others)


def roc(runs: Sequence[Scores], points: int = ROC_POINTS) -> tuple[Floats, Floats]:
    """Return the ROC curve with ID as the positive class, averaged over seeds at equal false positive rate.

    Curves are averaged instead of pooling the scores, since those of different seeds need not be of
    the same scale.

    Returns:
        False and true positive rate, each [points]. The curve starts at (0, 0) and ends at (1, 1).
    """
    grid = np.linspace(0, 1, points - 1)
    curves = []
    for scores in runs:
        ood = scores.together
        labels = np.concatenate([np.ones(len(scores.id)), np.zeros(len(ood))])
        false_positive, true_positive, _ = roc_curve(labels, np.concatenate([scores.id, ood]))
        curves.append(np.interp(grid, false_positive, true_positive))
    return np.concatenate([[0.0], grid]), np.concatenate([[0.0], np.mean(curves, axis=0)])


def histogram(scores: Scores, bins: int = BINS) -> Histogram:
    """Return histograms of ID and OOD scores over the same bins.

    The bins span the middle 99 % of all scores; what lies outside is counted in the outermost ones,
    so that single extreme scores do not squeeze everything else into one bin.
    """
    ood = scores.together
    low, high = np.quantile(np.concatenate([scores.id, ood]).astype(np.float64), [0.005, 0.995])
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, bins + 1)
    of_id, of_ood = (
        np.histogram(values.astype(np.float64).clip(low, high), edges, density=True)[0] for values in (scores.id, ood)
    )
    return Histogram((edges[1:] + edges[:-1]) / 2, of_id, of_ood)


def thin(values: Floats, points: int = TRAINING_POINTS) -> Floats:
    """Return the means of at most `points` consecutive groups of nearly equal size of `values` [steps]."""
    return np.array([group.mean() for group in np.array_split(values, min(points, len(values)))])


def roc_csv(curves: Mapping[str, tuple[Floats, Floats]]) -> str:
    """Return ROC curves of all OOD sets together as CSV text: one false positive rate a row, one method a column."""
    fpr, _ = next(iter(curves.values()))  # `roc` gives all curves at the same rates
    columns = (fpr, *(tpr for _, tpr in curves.values()))
    return csv_text(("fpr", *curves), ([f"{value:.4f}" for value in row] for row in zip(*columns, strict=True)))


def average_csv(benchmarks: Sequence[BenchmarkSummary]) -> str:
    """Return AUROC averaged over the OOD sets as CSV text, one row a benchmark and method."""
    return csv_text(
        ("method", "auroc"),
        ((f"{b.name}: {m.name}", f"{m.auroc[AVERAGE].mean:.6f}") for b in benchmarks for m in b.methods),
    )


def auroc_csv(benchmarks: Sequence[BenchmarkSummary]) -> str:
    """Return AUROC per benchmark, method and set (and the average) as CSV text; no std for a single value."""
    return csv_text(
        ("benchmark", "method", "set", "auroc_mean", "auroc_std"),
        (
            (b.name, m.name, name, f"{spread.mean:.6f}", "" if spread.std is None else f"{spread.std:.6f}")
            for b in benchmarks
            for m in b.methods
            for name, spread in m.auroc.items()
        ),
    )


def histograms_csv(histograms: Mapping[str, Histogram]) -> str:
    """Return histograms as CSV text, one row a method, kind of set and bin."""
    return csv_text(
        ("method", "set_kind", "bin_centre", "density"),
        (
            (method, kind, f"{x:.6g}", f"{y:.6g}")
            for method, h in histograms.items()
            for kind, densities in (("ID", h.id), ("OOD", h.ood))
            for x, y in zip(h.centres, densities, strict=True)
        ),
    )


def csv_text(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows as CSV text with lines that end in a newline alone."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()

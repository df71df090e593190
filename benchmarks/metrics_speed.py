"""Seconds for the metrics of a benchmark, beside scikit-learn or the plain way to the same numbers, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks.metrics_speed [--scores 500000] [--id 50000] [--ood 10000]

Scores are Gaussian, ID one standard deviation above OOD, in double precision without ties.

- measures: `clipn.metrics.measures` on as many ID as OOD scores; beside it the scikit-learn calls for the same
  six numbers: `roc_auc_score`, `average_precision_score` of either side, and `roc_curve` of either side for FPR95.
- compare: `clipn.metrics.delong.compare` of two methods on as many ID as OOD images; beside it `roc_auc_score` of
  both, which gives the difference without its variance.
- intervals: `clipn.metrics.bootstrap.intervals` with all its replicates for one OOD set; beside it the same
  replicates by drawing scores and calling `clipn.metrics`, of which a few are measured and the rest extrapolated.

The two sides take turns, so that whatever else the machine does falls on both alike. Peak memory is that of
arrays and objects while the function runs, its input left out.
"""

from __future__ import annotations

import argparse
import statistics
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from clipn import metrics
from clipn.metrics.bootstrap import draws, intervals
from clipn.metrics.delong import Run, compare

Scores = NDArray[np.float64]
CONVENTION = "id-interpolated"


@dataclass(frozen=True)
class Pair:
    """One function and what it is measured against, which does 1 / `share` of the work."""

    name: str
    ours: Callable[[], object]
    plain: Callable[[], object]
    share: float = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", type=int, default=500_000, help="of ID and of OOD images, measures and compare")
    parser.add_argument("--id", type=int, default=50_000, help="ID images of the bootstrap")
    parser.add_argument("--ood", type=int, default=10_000, help="OOD images of the bootstrap")
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--plain-replicates", type=int, default=20, help="measured of those by drawing scores")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    id_scores, ood_scores = random.normal(1, 1, options.scores), random.normal(0, 1, options.scores)
    other = Run(id_scores + random.normal(0, 0.3, options.scores), {"ood": ood_scores})
    few_id, few_ood = random.normal(1, 1, options.id), random.normal(0, 1, options.ood)
    pairs = (
        Pair("measures", lambda: metrics.measures(id_scores, ood_scores), lambda: scikit_learn(id_scores, ood_scores)),
        Pair(
            "compare",
            lambda: compare([Run(id_scores, {"ood": ood_scores})], [other]),
            lambda: (areas(id_scores, ood_scores), areas(np.asarray(other.id), ood_scores)),
        ),
        Pair(
            "intervals",
            lambda: intervals(
                few_id, {"ood": few_ood}, replicates=options.replicates, seed=0, fpr_convention=CONVENTION
            ),
            lambda: drawn(few_id, few_ood, options.plain_replicates),
            options.replicates / options.plain_replicates,
        ),
    )
    show([(pair.name, *seconds(pair, options.rounds), peak(pair.ours)) for pair in pairs], options)


def areas(id_scores: Scores, ood_scores: Scores) -> float:
    return roc_auc_score(labels(id_scores, ood_scores), np.concatenate([id_scores, ood_scores]))


def scikit_learn(id_scores: Scores, ood_scores: Scores) -> list[float]:
    is_id, scores = labels(id_scores, ood_scores), np.concatenate([id_scores, ood_scores])
    fpr, recall, _ = roc_curve(is_id, scores, drop_intermediate=False)
    ood_fpr, ood_recall, _ = roc_curve(1 - is_id, -scores, drop_intermediate=False)
    return [
        roc_auc_score(is_id, scores),
        average_precision_score(is_id, scores),
        average_precision_score(1 - is_id, -scores),
        np.interp(0.95, recall, fpr),
        fpr[np.argmin(np.abs(recall - 0.95))],
        ood_fpr[np.argmax(ood_recall >= 0.95)],
    ]


def labels(id_scores: Scores, ood_scores: Scores) -> NDArray[np.int64]:
    return np.repeat([1, 0], [len(id_scores), len(ood_scores)])


def drawn(id_scores: Scores, ood_scores: Scores, replicates: int) -> NDArray[np.float64]:
    blocks = (draws(len(id_scores), replicates, 0, None, rows=1), draws(len(ood_scores), replicates, 0, "ood", rows=1))
    values = []
    for ids, oods in zip(*blocks, strict=True):
        pair = id_scores[ids[0]], ood_scores[oods[0]]
        values.append((metrics.auroc(*pair), metrics.fpr_at_tpr(*pair, convention=CONVENTION)))
    return np.quantile(values, [0.025, 0.975], axis=0)


def seconds(pair: Pair, rounds: int) -> tuple[list[float], list[float]]:
    """Of the function and of what it is measured against, round by round; the first round warms up."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(1 + rounds):
        for side, run, share in zip(taken, (pair.ours, pair.plain), (1.0, pair.share), strict=True):
            start = time.perf_counter()
            run()
            side.append((time.perf_counter() - start) * share)
    return taken[0][1:], taken[1][1:]


def peak(run: Callable[[], object]) -> float:
    """MB allocated at a time, at most."""
    tracemalloc.start()
    run()
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return highest / 1e6


def show(rows: list[tuple[str, list[float], list[float], float]], options: argparse.Namespace) -> None:
    table = Table(
        "",
        "s, median",
        "lowest",
        "highest",
        "plain, s",
        "plain / ours",
        "peak MB",
        title=f"{options.scores} + {options.scores} scores; {options.replicates} resamples of "
        f"{options.id} + {options.ood}",
    )
    for name, ours, plain, memory in rows:
        middle, other = statistics.median(ours), statistics.median(plain)
        numbers = (f"{value:.3f}" for value in (middle, min(ours), max(ours), other))
        table.add_row(name, *numbers, f"{other / middle:.1f} ×", f"{memory:.0f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()

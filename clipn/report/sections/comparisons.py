"""Which methods differ by more than chance: the best one against every other on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clipn.metrics import delong
from clipn.report.inputs.score_files import Scores
from clipn.report.render.document import Block, Column, Grid, Row, Text
from clipn.report.summary import BenchmarkSummary, MethodSummary, best, signed

LEVEL = 0.05
"""Of a difference that is called one."""


@dataclass(frozen=True)
class Compared:
    """AUROC of a method minus that of another, each averaged over the OOD sets and seeds, as fractions."""

    difference: float
    low: float
    high: float
    """Limits of the 95 % interval of this one comparison."""
    p: float
    """After Holm's correction over all comparisons of the benchmark."""

    @property
    def differs(self) -> bool:
        return self.p < LEVEL

    @property
    def reversed(self) -> Compared:
        return Compared(-self.difference, -self.high, -self.low, self.p)


@dataclass(frozen=True)
class Comparisons:
    best: str
    """The method with the highest average AUROC."""
    others: Mapping[str, Compared]
    """Every other method → the best one minus it."""
    with_no_text_encoder: tuple[str, str, Compared] | None
    """Of the models trained here the best method, the best one without a "No" text encoder, and the first minus
    the second; None if either is missing."""
    intervals: Mapping[str, tuple[float, float]]
    """Method → limits of the 95 % interval of its average AUROC."""

    @property
    def alike(self) -> dict[str, Compared]:
        """Return the methods that cannot be told apart from the best one, the nearest first."""
        alike = {name: compared for name, compared in self.others.items() if not compared.differs}
        return dict(sorted(alike.items(), key=lambda item: item[1].difference))


def compare(benchmark: BenchmarkSummary, scores: Mapping[str, Sequence[Scores]]) -> Comparisons:
    """Compare the best method with every other, and the best one with a "No" text encoder with the best one without.

    Args:
        benchmark: what was measured.
        scores: method → its scores, those of each seed in turn, on the same images in the same order.

    The test is DeLong's for AUROC that were measured on the same images (`clipn.metrics.delong`).
    """
    runs = {name: [delong.Run(s.id, s.ood) for s in of_method] for name, of_method in scores.items()}
    top = best(benchmark.methods).name
    verdict = _with_and_without(benchmark.own_methods)
    pairs = [(top, method.name) for method in benchmark.methods if method.name != top]
    if verdict is not None and verdict not in pairs and verdict[::-1] not in pairs:
        pairs.append(verdict)
    results = [delong.compare(runs[first], runs[second]) for first, second in pairs]
    adjusted = holm([result.p for result in results])
    compared = {
        pair: Compared(result.difference, result.low, result.high, p)
        for pair, result, p in zip(pairs, results, adjusted, strict=True)
    }
    if verdict is not None and verdict not in compared:
        compared[verdict] = compared[verdict[::-1]].reversed
    return Comparisons(
        best=top,
        others={second: compared[first, second] for first, second in pairs if first == top},
        with_no_text_encoder=verdict and (*verdict, compared[verdict]),
        intervals={name: delong.interval(of_method)[1:] for name, of_method in runs.items()},
    )


def holm(p: Sequence[float]) -> list[float]:
    """Correct p-values after Holm (1979, step-down), so that "any below 0.05" has a chance of at most 0.05.

    The k-th smallest of m is multiplied by m - k + 1, and none falls below a smaller one's.
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted.tolist()


def show_p(p: float) -> str:
    """Return p in words: `p = 0.043`, `p < 0.0001`."""
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.2g}"


def blocks(comparisons: Comparisons) -> list[Block]:
    """Lay out the table of differences to the best method; nothing where there is no other."""
    if not comparisons.others:
        return []
    top, others = comparisons.best, sorted(comparisons.others.items(), key=lambda item: item[1].difference)
    apart = sum(compared.differs for _, compared in others)
    n = len(others) + (comparisons.with_no_text_encoder is not None and top not in comparisons.with_no_text_encoder[:2])
    rows = [
        Row(
            name,
            (
                signed(100 * compared.difference),
                f"{signed(100 * compared.low)} to {signed(100 * compared.high)}",
                show_p(compared.p).removeprefix("p = ").removeprefix("p "),
                f"{top} is better" if compared.differs else "cannot be told apart",
            ),
        )
        for name, compared in others
    ]
    return [
        Text("Which differences are more than chance", "heading"),
        Text(
            f"{top} has the highest average AUROC. The table shows {top} minus each other method: the difference in "
            "points of AUROC, averaged over the OOD sets and seeds, and its 95 % interval. p is that of DeLong's test "
            "on the same images, which counts the scatter of images and of seeds. It is corrected after Holm for the "
            f"{n} comparison{'s' if n > 1 else ''} made on this benchmark; the intervals are not. Two methods with p "
            f"of {LEVEL} or more cannot be told apart. {top} was picked on these same images, which favours it.",
            "note",
        ),
        Grid(
            label=f"{top} minus other methods",
            columns=(
                Column("method"),
                Column("difference"),
                Column("95 % interval"),
                Column("p"),
                Column("verdict", words=True),
            ),
            rows=tuple(rows),
            folded=f"{top} differs from {apart} of {len(others)} other methods",
        ),
    ]


def _with_and_without(methods: Sequence[MethodSummary]) -> tuple[str, str] | None:
    """Return the best method with the "No" text encoder and the best one without it."""
    with_it, without = [m for m in methods if m.trained], [m for m in methods if not m.trained]
    return (best(with_it).name, best(without).name) if with_it and without else None

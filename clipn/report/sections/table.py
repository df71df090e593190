"""The tables of one benchmark: method × repeat in rows, in the form of the paper, and what stands beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from clipn.report.render.document import Cell, Column, Grid, Number, Row
from clipn.report.summary import AVERAGE, GROUPS, BenchmarkSummary, MethodSummary, Spread, percent

CONVENTIONS = {
    "id-interpolated": "ID is the positive class; the ROC curve is interpolated linearly at a true positive rate of "
    "0.95 (the convention of CLIPN)",
    "id-nearest": "ID is the positive class; the threshold whose recall is nearest 0.95 (the convention of MCM)",
    "ood-first": "OOD is the positive class; the first threshold with a true positive rate of at least 0.95 (the "
    "convention of OpenOOD)",
}
MEAN = "mean ± std"
IMPORTED = "imported"


def results(benchmark: BenchmarkSummary, intervals: Mapping[str, tuple[float, float]]) -> Grid:
    """Show AUROC and FPR95 of every method on every OOD set, grouped by what the methods need.

    The best mean of every column is marked, all of them when several print the same, and so is the best of every
    group of more than one.

    Args:
        benchmark: what was measured.
        intervals: method → limits of the 95 % interval of its average AUROC, as fractions.
    """
    auroc = _Marks(benchmark.methods, lambda method, column: method.auroc[column], max)
    fpr95 = _Marks(benchmark.methods, lambda method, column: method.fpr95[column], min)

    def rows(method: MethodSummary) -> Iterable[Row]:
        repeat = ""
        if len(method.auroc[AVERAGE].values) > 1:
            for i, seed in enumerate(benchmark.seeds):
                cells = (
                    (_single(method.auroc[column].values[i]), _single(method.fpr95[column].values[i]))
                    for column in benchmark.columns
                )
                yield Row(method.name, (*cells, ""), f"seed {seed}", minor=True)
            repeat = MEAN
        elif method.trained:
            repeat = IMPORTED if method.imported else f"seed {benchmark.seeds[0]}"
        cells = ((auroc.number(method, column), fpr95.number(method, column)) for column in benchmark.columns)
        low, high = intervals[method.name]
        yield Row(method.name, (*cells, f"{100 * low:.2f} to {100 * high:.2f}"), repeat)

    return Grid(
        label=f"Results of {benchmark.name}",
        columns=(
            Column("method", "AUROC / FPR95"),
            *(Column(name, f"{benchmark.images[name]:,}") for name in benchmark.ood),
            Column(AVERAGE, total=True),
            Column("95 % interval", "average AUROC"),
        ),
        rows=tuple(grouped(benchmark.methods, rows)),
        note_column="repeat",
        folded_repeats='Every repeat of the methods with a trained "No" text encoder',
    )


def further(benchmark: BenchmarkSummary) -> Grid:
    """Show the other measures of detectors, averaged over the OOD sets, and each method's own classifier."""
    chosen = {
        "aupr_in": ("AUPR-in", max),
        "aupr_out": ("AUPR-out", max),
        "fpr95_id_interpolated": ("FPR95 id-interpolated", min),
        "fpr95_id_nearest": ("FPR95 id-nearest", min),
        "fpr95_ood_first": ("FPR95 ood-first", min),
    }

    def marks(key: str) -> _Marks:
        return _Marks(benchmark.methods, lambda method, column: method.measures[key][column], chosen[key][1])

    of_column = {key: marks(key) for key in chosen}

    def rows(method: MethodSummary) -> Iterable[Row]:
        low, high = (method.measures[f"fpr95_{end}"][AVERAGE].mean for end in ("low", "high"))
        within = {benchmark.fpr_key: f"{100 * low:.2f} to {100 * high:.2f}"}
        cells: list[Cell] = [(of_column[key].number(method, AVERAGE, within.get(key, "")),) for key in chosen]
        accuracy = percent(method.id_accuracy) if method.id_accuracy else "–"
        yield Row(method.name, (*cells, accuracy))

    return Grid(
        label=f"Further measures of {benchmark.name}",
        columns=(Column("method"), *(Column(name) for name, _ in chosen.values()), Column("ID accuracy")),
        rows=tuple(grouped(benchmark.methods, rows)),
        folded="Area under precision and recall, the other conventions of FPR95, own classifiers",
    )


def decisions(benchmark: BenchmarkSummary) -> Grid | None:
    """Show what methods decide without a threshold: ID images refused wrongly, and OOD images refused rightly."""
    rows = [
        Row(
            method.name,
            (
                percent(Spread(tuple(1 - kept for kept in method.decision.id_kept.values))),
                *(percent(method.decision.ood_refused[name]) for name in benchmark.ood),
                percent(method.decision.calibration_error),
            ),
        )
        for method in benchmark.methods
        if method.decision is not None
    ]
    if not rows:
        return None
    return Grid(
        label=f"Decisions on {benchmark.name}",
        columns=(
            Column("method"),
            Column(benchmark.id, "ID, refused wrongly"),
            *(Column(name, "refused rightly") for name in benchmark.ood),
            Column("calibration error", total=True),
        ),
        rows=tuple(rows),
    )


def grouped(methods: Sequence[MethodSummary], rows: Callable[[MethodSummary], Iterable[Row]]) -> Iterable[Row]:
    """Return the rows of all methods, each group under its heading."""
    for name in GROUPS:
        members = [method for method in methods if method.group == name]
        if members:
            yield Row(name)
        for method in members:
            yield from rows(method)


class _Marks:
    """Finds the best mean of a column, over all methods and over those of a group, as it prints."""

    def __init__(
        self,
        methods: Sequence[MethodSummary],
        value: Callable[[MethodSummary, str], Spread],
        better: Callable[[Iterable[float]], float],
    ) -> None:
        self.methods, self.value, self.better = methods, value, better

    def number(self, method: MethodSummary, column: str, note: str = "") -> Number:
        own = self._shown(method, column)
        members = [other for other in self.methods if other.group == method.group]
        if own == self.better(self._shown(other, column) for other in self.methods):
            return Number(percent(self.value(method, column)), "best", note)
        if len(members) > 1 and own == self.better(self._shown(other, column) for other in members):
            return Number(percent(self.value(method, column)), "group", note)
        return Number(percent(self.value(method, column)), "", note)

    def _shown(self, method: MethodSummary, column: str) -> float:
        """Return the mean as printed, so that what prints the same ranks the same."""
        return round(100 * self.value(method, column).mean, 2)


def _single(value: float) -> Number:
    return Number(f"{100 * value:.2f}")

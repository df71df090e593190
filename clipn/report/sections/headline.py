"""What was measured and which method won, in sentences, whichever way it went."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from clipn.report.sections.comparisons import LEVEL, Compared, Comparisons, show_p
from clipn.report.summary import AVERAGE, BenchmarkSummary, MethodSummary, percent


def sentences(benchmark: BenchmarkSummary, comparisons: Comparisons) -> list[str]:
    """Return what was measured, which method is best, what it differs from, and whether the "No" text encoder helped.

    "Beats" and "loses to" are said only of differences with p below `LEVEL`.
    """
    n = len(benchmark.ood)
    accuracy = (
        "" if benchmark.id_accuracy is None else f" Zero-shot ID accuracy is {100 * benchmark.id_accuracy:.2f} %."
    )
    lines = [
        f"{benchmark.images[benchmark.id]:,} images of {benchmark.id} (ID) against {benchmark.ood_images:,} images "
        f"of {n} OOD {'set' if n == 1 else 'sets'}.{accuracy}",
        _best(benchmark, benchmark.by_name[comparisons.best]),
    ]
    if comparisons.others:
        lines.append(_apart(comparisons))
    if comparisons.with_no_text_encoder is not None:
        first, second, compared = comparisons.with_no_text_encoder
        lines.append(_verdict(benchmark.by_name[first], benchmark.by_name[second], compared))
    return lines


def validated(
    benchmark: BenchmarkSummary,
    comparisons: Comparisons,
    validation: BenchmarkSummary,
    combined: Collection[str],
) -> str:
    """What the combination that is best on the validation benchmark reaches here.

    Args:
        benchmark: where it is tested.
        comparisons: of that benchmark.
        validation: where it is chosen, on other images.
        combined: names of scores that combine others, whatever they need.
    """
    here = benchmark.by_name
    choices = [
        method
        for method in validation.own_methods
        if method.name in here
        and (method.base in combined or {"no", "words"} <= method.needs or _no_and_images(method))
    ]
    if not choices:
        return f"No combination of scores was measured both here and on the validation benchmark {validation.name}."
    chosen = max(choices, key=lambda method: method.auroc[AVERAGE].mean)
    reached = here[chosen.name].auroc[AVERAGE]
    rank = 1 + sum(method.auroc[AVERAGE].mean > reached.mean for method in benchmark.methods)
    if chosen.name == comparisons.best:
        end = ""
    elif comparisons.others[chosen.name].differs:
        end = f"; it loses to {comparisons.best} ({show_p(comparisons.others[chosen.name].p)})"
    else:
        end = f"; it cannot be told apart from {comparisons.best} ({show_p(comparisons.others[chosen.name].p)})"
    return (
        f"Of {len(choices)} combination{'s' if len(choices) > 1 else ''}, {chosen.name} has the highest average "
        f"AUROC on the validation benchmark {validation.name} ({percent(chosen.auroc[AVERAGE])}). Here it reaches "
        f"{percent(reached)}, rank {rank} of {len(benchmark.methods)}{end}."
    )


def _no_and_images(method: MethodSummary) -> bool:
    return {"no", "images"} <= method.needs


def _best(benchmark: BenchmarkSummary, top: MethodSummary) -> str:
    lowest = min(benchmark.methods, key=lambda method: method.fpr95[AVERAGE].mean)
    if lowest.fpr95[AVERAGE].mean == top.fpr95[AVERAGE].mean:
        fpr = f"It also has the lowest average FPR95, {percent(top.fpr95[AVERAGE])}."
    else:
        fpr = f"Lowest average FPR95: {lowest.name} with {percent(lowest.fpr95[AVERAGE])}."
    return f"Best average AUROC: {top.name} with {percent(top.auroc[AVERAGE])}. {fpr}"


def _apart(comparisons: Comparisons) -> str:
    top, n, alike = comparisons.best, len(comparisons.others), comparisons.alike
    if not alike:
        if n == 1:
            ((name, compared),) = comparisons.others.items()
            return f"{top} beats {name} ({show_p(compared.p)})."
        return f"{top} beats each of the {n} other methods (p < {LEVEL})."
    sentence = f"{top} cannot be told apart from {_listed(alike)}"
    rest = n - len(alike)
    if rest:
        sentence += f"; it beats {f'the {rest} others' if rest > 1 else 'the other one'} (p < {LEVEL})"
    return f"{sentence}."


def _listed(methods: Mapping[str, Compared]) -> str:
    *first, last = [f"{name} ({show_p(compared.p)})" for name, compared in methods.items()]
    return f"{', '.join(first)} and {last}" if first else last


def _verdict(with_it: MethodSummary, without: MethodSummary, compared: Compared) -> str:
    ours, theirs = with_it.auroc[AVERAGE], without.auroc[AVERAGE]
    # The difference of what is printed.
    points = abs(round(100 * ours.mean, 2) - round(100 * theirs.mean, 2))
    if not compared.differs:
        result = f"cannot be told apart from the best one without it, {without.name} ({percent(theirs)}; "
        result += f"{show_p(compared.p)})"
    else:
        verb = "beats" if compared.difference > 0 else "loses to"
        result = (
            f"{verb} the best one without it, {without.name} ({percent(theirs)}), by {points:.2f} points of average "
        )
        result += f"AUROC ({show_p(compared.p)})"
    caution = "; with one seed, how far training varies is unknown" if ours.std is None else ""
    return (
        f'The best method with the trained "No" text encoder is {with_it.name} ({percent(ours)}). It {result}{caution}.'
    )

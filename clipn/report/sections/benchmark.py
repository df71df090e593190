"""What is shown of one benchmark."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from clipn import paths
from clipn.report import curves
from clipn.report.curves import Floats, Histogram
from clipn.report.inputs.score_files import Scores
from clipn.report.render import pictures, plots
from clipn.report.render.document import Block, Fact, Facts, Figure, Gallery, Section, Text
from clipn.report.render.plots import Style
from clipn.report.sections import comparisons, headline, overlaps, published, table
from clipn.report.sections.comparisons import Comparisons
from clipn.report.sections.overlaps import Overlap
from clipn.report.summary import AVERAGE, BenchmarkSummary, best, percent


@dataclass(frozen=True)
class Drawn:
    """The data behind the figures of one benchmark, by method."""

    roc: Mapping[str, tuple[Floats, Floats]]
    histograms: Mapping[str, Histogram]


@dataclass(frozen=True)
class Measured:
    """One benchmark with all its results."""

    summary: BenchmarkSummary
    comparisons: Comparisons
    sentences: tuple[str, ...]
    """What was measured, in words."""
    drawn: Drawn
    overlap: Overlap
    validates: bool
    """Whether choices between combinations of scores are made on it."""

    def validated(self, validation: BenchmarkSummary, combined: Collection[str]) -> Measured:
        """Return the same with a sentence on what was chosen on another benchmark; `combined` as in `headline`."""
        sentence = headline.validated(self.summary, self.comparisons, validation, combined)
        return replace(self, sentences=(*self.sentences, sentence))


def measure(
    summary: BenchmarkSummary,
    scores: Mapping[str, Sequence[Scores]],
    names: Iterable[str],
    overlap: Overlap,
    *,
    validates: bool = False,
) -> Measured:
    """Compare the methods, and work out what is drawn.

    Args:
        summary: what was measured.
        scores: method → its scores, those of each seed in turn.
        names: methods to draw: ROC curves over all seeds, histograms of the first.
        overlap: the benchmark's duplicates.
        validates: whether choices are made on it.
    """
    chosen = {name: scores[name] for name in names}
    compared = comparisons.compare(summary, scores)
    return Measured(
        summary=summary,
        comparisons=compared,
        sentences=tuple(headline.sentences(summary, compared)),
        drawn=Drawn(
            roc={name: curves.roc(runs) for name, runs in chosen.items()},
            histograms={name: curves.histogram(runs[0]) for name, runs in chosen.items()},
        ),
        overlap=overlap,
        validates=validates,
    )


def section(measured: Measured, styles: Mapping[str, Style], *, with_published: bool) -> Section:
    """Lay out sentences, tables and pictures; within `plots.themed()`.

    Args:
        measured: what is shown.
        styles: of the drawn methods.
        with_published: whether published figures are shown beside the measured ones.
    """
    benchmark = measured.summary
    blocks: list[Block] = [_facts(benchmark)]
    if measured.validates:
        blocks.append(Text("Combinations of scores are chosen on this benchmark, so it does not test them.", "note"))
    blocks += [Text(sentence, "lead") for sentence in measured.sentences]
    blocks += [table.results(benchmark, measured.comparisons.intervals), Text(_how(benchmark), "note")]
    if benchmark.skipped:
        reasons = "; ".join(f"{name} {why}" for name, why in benchmark.skipped.items())
        blocks.append(Text(f"Not measured on this benchmark: {reasons}.", "note"))
    blocks += [table.further(benchmark), Text(_how_further(benchmark), "note")]
    if with_published:
        blocks += published.beside(benchmark)
    blocks += comparisons.blocks(measured.comparisons)
    blocks += [*_decisions(benchmark), *_calibration(benchmark), *_figures(benchmark, measured.drawn, styles)]
    blocks += overlaps.blocks(measured.overlap, benchmark)
    return Section(f"{'Validation' if measured.validates else 'Results'}: {benchmark.name}", tuple(blocks))


def _facts(benchmark: BenchmarkSummary) -> Facts:
    facts = []
    if benchmark.id_accuracy is not None:
        images = f"{benchmark.images[benchmark.id]:,} images of {benchmark.id}"
        facts.append(Fact("Zero-shot ID accuracy", f"{100 * benchmark.id_accuracy:.2f} %", images))
    trained = [method for method in benchmark.own_methods if method.trained]
    for what, methods in (
        ("Best average AUROC", benchmark.methods),
        ('Best with the trained "No" text encoder', trained),
    ):
        if methods:
            top = best(methods)
            note = f"{top.name}, FPR95 {percent(top.fpr95[AVERAGE])}"
            facts.append(Fact(what, percent(top.auroc[AVERAGE]), note))
    seeds = f"{len(benchmark.seeds)} training seed{'' if len(benchmark.seeds) == 1 else 's'}"
    sets = f"in {len(benchmark.ood)} set{'' if len(benchmark.ood) == 1 else 's'}; {seeds}"
    facts.append(Fact("OOD images", f"{benchmark.ood_images:,}", sets))
    return Facts(tuple(facts))


def _how(benchmark: BenchmarkSummary) -> str:
    n = len(benchmark.seeds)
    trained = f" ({benchmark.trained_templates} for the models trained here)" if benchmark.trained_templates else ""
    imported = "".join(
        f" The model {model.name} was imported; it is measured with logit scale {model.logit_scale:g} and templates "
        f"{model.templates}."
        for model in benchmark.imported
    )
    return (
        "AUROC (higher is better) and FPR95 (lower is better) in percent. Below the name of a set stands the number of "
        f"its images. The ID set is {benchmark.id} ({benchmark.images[benchmark.id]:,} images). FPR95 follows the "
        f"convention {benchmark.fpr_convention}: {table.CONVENTIONS[benchmark.fpr_convention]}. ± is the sample "
        f"standard deviation over {n} seed{'' if n == 1 else 's'}. A method without ± does not depend on the seed, or "
        "ran with one seed. The 95 % interval of the average AUROC counts the scatter of images and of seeds. Bold: "
        "the best mean of a column. Underlined (italic in Markdown): the best mean of its group. Logit scale "
        f"{benchmark.logit_scale:g}, templates {benchmark.templates}{trained}.{imported}"
    )


def _how_further(benchmark: BenchmarkSummary) -> str:
    return (
        "Averages over the OOD sets in percent; those of each set are in "
        f"{paths.METRICS / benchmark.name}. AUPR is the area under the precision-recall curve: AUPR-in takes ID as the "
        "positive class, AUPR-out takes OOD. Both depend on how many images there are of each. After FPR95 "
        f"{benchmark.fpr_convention} stands its 95 % interval: a bootstrap over images, its limits averaged over "
        "seeds. ID accuracy is that of the method's own classifier, where it has one."
    )


def _decisions(benchmark: BenchmarkSummary) -> Iterable[Block]:
    grid = table.decisions(benchmark)
    if grid is None:
        return
    yield Text("Decisions without a threshold", "heading")
    yield Text(
        "Share of images, in percent, that a method refuses as OOD by its own decision: wrongly in the ID set, rightly "
        "in OOD sets. The calibration error, in percent, takes the score as the probability of being ID. ID images "
        "weigh one half together, and so do OOD images.",
        "note",
    )
    yield grid


def _calibration(benchmark: BenchmarkSummary) -> Iterable[Block]:
    calibration = benchmark.calibration
    if calibration is None:
        return
    sentence = (
        f"The zero-shot class probability of ID images is {100 * calibration.confidence:.2f} % on average, and "
        f"{100 * calibration.accuracy:.2f} % of them are classified correctly; the expected calibration error is "
        f"{100 * calibration.error:.2f} %."
    )
    yield Text("Calibration of the class probability", "heading")
    yield Text(sentence)
    picture = pictures.svg(plots.reliability_figure(calibration.bins), f"Accuracy over class probability. {sentence}")
    note = "a dot's area is the share of the images"
    yield Gallery((Figure(picture, "Reliability", note=note),), "small")


def _figures(benchmark: BenchmarkSummary, drawn: Drawn, styles: Mapping[str, Style]) -> Iterable[Block]:
    averages = ", ".join(f"{name} {percent(benchmark.by_name[name].auroc[AVERAGE])}" for name in drawn.roc)
    roc = pictures.svg(
        plots.roc_figure(drawn.roc, styles),
        f"ROC curves of {len(drawn.roc)} methods, {benchmark.id} against all OOD images together. "
        f"Average AUROC over the sets, in percent: {averages}.",
    )
    auroc = pictures.svg(
        plots.auroc_figure(benchmark, list(drawn.roc), styles),
        f"AUROC of {len(drawn.roc)} methods on each OOD set against {benchmark.id}; the results table holds the "
        "numbers.",
    )
    yield Text("Curves", "heading", page_only=True)
    yield Gallery((Figure(roc, "ROC, all OOD images together"), Figure(auroc, "AUROC on each OOD set")), "wide")
    seed = f" Histograms are of seed {benchmark.seeds[0]}." if benchmark.seeds else ""
    yield Gallery(
        tuple(
            Figure(
                pictures.svg(
                    plots.histogram_figure(method, histogram, styles[method].colour),
                    f"Histogram of the {method} scores of ID and OOD images.",
                )
            )
            for method, histogram in drawn.histograms.items()
        ),
        "small",
    )
    yield Text(
        "The methods of report.curves. ID is the positive class. Thick lines and filled markers: methods with a "
        'trained "No" text encoder. Their curves are averaged over seeds at equal false positive rate; bars at the '
        "dots are one standard deviation over seeds. Higher scores mean more in-distribution. The histograms take all "
        "OOD images together. Both histograms of a method have the same area; the outermost bins hold the scores "
        f"beyond the middle 99 %.{seed}",
        "note",
        page_only=True,
    )

"""What people look at: the table, the plots, the page, and the metrics that DVC compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clipn.config import BenchmarkParams, ReportParams
from clipn.report import curves, gather, summary
from clipn.report.gather import Asked, Results
from clipn.report.render import markdown, overview, page, plots
from clipn.report.render.document import Section
from clipn.report.sections import appendix, attack, benchmark, published, robustness, study
from clipn.utils.files import atomic_path, write_json, write_text


def build(
    names: Sequence[str],
    benchmarks: Mapping[str, BenchmarkParams],
    seeds: Sequence[int],
    report: ReportParams,
    root: Path = Path(),
    imported: Sequence[str] = (),
    *,
    studies: Sequence[str] = (),
    study_benchmarks: Sequence[str] = (),
    attacks: Sequence[str] = (),
    robust: Sequence[str] = (),
) -> dict[str, Any]:
    """Read what the earlier stages left under `root` and write everything in `reports/` that sums it up.

    Written: `metrics.json`, `headline.json` (a few of them, of the first benchmark), `results.md`,
    `report.html`, `overview.png`, and `plots/` with `roc/` and `histograms/` (a file for each
    benchmark; ROC curves of the seeds are averaged at equal false positive rate, histograms are those
    of the first seed), `auroc.csv`, `average.csv`, and where there are such results `study.csv` and
    `robustness.csv`.

    Args:
        names: of the benchmarks that were evaluated. Those that others are validated on follow these; the first
            one is shown in `overview.png`.
        benchmarks: name → its sets.
        seeds: of the training runs, each with metrics, scores and a training log.
        report: title, methods to draw, and whether to show published tables.
        root: the project's folder.
        imported: names of the imported models that were evaluated too.
        studies: names of the backbones of the feature study.
        study_benchmarks: those that they were measured on.
        attacks: benchmarks whose OOD images were moved towards ID.
        robust: benchmarks whose images were corrupted and classes renamed.

    Returns:
        `metrics` (content of metrics.json), `headline` (benchmark → sentences), `outputs` (paths below `root`).

    Raises:
        InvalidData: a model's file is missing, a method is missing in one seed, no method was measured, or a file
            is damaged or of other sets.
        InvalidParams: a benchmark is validated on one that was not evaluated.
        MissingInput: an evaluation set, the numbers of its duplicates, or a result of `studies`, `attacks` or
            `robust` is missing.
        NonFinite: an input holds NaN or an infinity.
    """
    asked = Asked(names, benchmarks, seeds, imported, studies, study_benchmarks, attacks, robust, wanted=report.curves)
    results = gather.read(root, asked)
    summaries = [measured.summary for measured in results.benchmarks.values()]
    with plots.themed():
        sections = _sections(results, asked, report.published)
    texts = {
        **_plot_data(results, asked),
        "reports/results.md": markdown.render(report.title, sections),
        "reports/report.html": page.render(report.title, sections),
    }
    first = summaries[0]
    own = [name for name in curves.drawn_of(report.curves, first) if first.by_name[name].imported is None]
    picture = overview.draw(report.title, first, own, results.samples)

    metrics = _metrics(results, summaries)
    write_json(root / "reports/metrics.json", metrics)
    write_json(root / "reports/headline.json", summary.headline(first, curves.drawn_of(report.curves, first)))
    for name, text in texts.items():
        write_text(root / name, text)
    with atomic_path(root / "reports/overview.png") as temporary:
        temporary.write_bytes(picture)
    return {
        "metrics": metrics,
        "headline": {name: list(measured.sentences) for name, measured in results.benchmarks.items()},
        "outputs": ["reports/metrics.json", "reports/headline.json", *texts, "reports/overview.png"],
    }


def _sections(results: Results, asked: Asked, with_published: bool) -> list[Section]:
    """The whole report; within `plots.themed()`."""
    look = plots.looks(results.drawn(asked))
    found = [benchmark.section(m, look, with_published=with_published) for m in results.benchmarks.values()]
    if results.studies:
        found.append(study.section(results.studies, asked.study_benchmarks, asked.wanted, look))
    if results.attacks:
        found.append(attack.section(results.attacks))
    if results.robust:
        found.append(robustness.section(results.robust, asked.wanted, look))
    if with_published:
        found += published.elsewhere(results.benchmarks)
    found.append(appendix.images([m.summary for m in results.benchmarks.values()], results.samples))
    if results.training:
        found.append(appendix.training(results.training))
    if results.stages:
        found.append(appendix.stages(results.stages))
    return found


def _plot_data(results: Results, asked: Asked) -> dict[str, str]:
    """Path → CSV text."""
    summaries = [measured.summary for measured in results.benchmarks.values()]
    drawn = {name: measured.drawn for name, measured in results.benchmarks.items()}
    found = {
        **{f"roc/{name}.csv": curves.roc_csv(d.roc) for name, d in drawn.items()},
        **{f"histograms/{name}.csv": curves.histograms_csv(d.histograms) for name, d in drawn.items()},
        "average.csv": curves.average_csv(summaries),
        "auroc.csv": curves.auroc_csv(summaries),
    }
    if results.studies:
        found["study.csv"] = study.as_csv(results.studies, asked.study_benchmarks)
    if results.robust:
        found["robustness.csv"] = robustness.as_csv(results.robust)
    return {f"reports/plots/{name}": text for name, text in found.items()}


def _metrics(results: Results, summaries: Sequence[summary.BenchmarkSummary]) -> dict[str, Any]:
    found: dict[str, Any] = summary.metrics(summaries)
    if results.studies:
        found["study"] = study.metrics(results.studies)
    if results.attacks:
        found["attack"] = attack.metrics(results.attacks)
    if results.robust:
        found["robustness"] = robustness.metrics(results.robust)
    return found

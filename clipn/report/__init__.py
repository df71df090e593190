"""What people look at: the table, the plots, the page, and the metrics that DVC compares."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clipn import paths
from clipn.config import Params
from clipn.errors import InvalidData
from clipn.report import curves, summary
from clipn.report.part import Part
from clipn.report.render import markdown, overview, page, plots
from clipn.report.sections import appendix, attack, benchmarks, introduction, published, robustness, study
from clipn.utils.files import atomic_path, write_json, write_text

PARTS: tuple[type[Part], ...] = (
    study.Studies,
    attack.Attacks,
    robustness.RobustnessOfBenchmarks,
    published.Elsewhere,
)
"""What follows the results of the benchmarks, in this order. A new part is one more entry."""


def build(params: Params, root: Path = Path()) -> dict[str, Any]:
    """Read what the earlier stages left under `root` and write everything in `reports/` that sums it up.

    Written: `metrics.json`, `headline.json` (a few of them, of the first benchmark), `results.md`,
    `report.html`, `overview.png`, and `plots/` with `roc/` and `histograms/` (a file for each
    benchmark; ROC curves of the seeds are averaged at equal false positive rate, histograms are those
    of the first seed), `auroc.csv`, `average.csv`, and what `PARTS` have of their own.

    Args:
        params: of the pipeline. What is shown are the benchmarks of `evaluate.benchmarks`, those of `PARTS`, the
            training runs of `train.seeds`; title and methods to draw are those of `report`.
        root: the project's folder.

    Returns:
        `metrics` (content of metrics.json), `headline` (benchmark → sentences), `outputs` (paths below `root`).

    Raises:
        InvalidData: a model's file is missing, a method is missing in one seed, no method was measured, a file
            is damaged or of other sets, or a benchmark is called like a part.
        InvalidParams: a benchmark is validated on one that was not evaluated.
        MissingInput: an evaluation set, the numbers of its duplicates, or a result of a part is missing.
        NonFinite: an input holds NaN or an infinity.
    """
    _check_names(params.evaluate.benchmarks)
    evaluated = benchmarks.Benchmarks.read(root, params)
    further = [part.read(root, params) for part in PARTS]
    parts: list[Part] = [evaluated, *further]
    more = appendix.Appendix.read(root, params, parts, evaluated.summaries)

    styles = plots.styles({name: trained for part in parts for name, trained in part.drawn().items()})
    with plots.themed():
        sections = [section for part in parts for section in part.sections(styles)] + more.sections()
    texts = {
        **{paths.PLOTS / name: text for part in parts for name, text in part.plot_data().items()},
        paths.RESULTS: markdown.render(params.report.title, sections, introduction.PARAGRAPHS),
        paths.REPORT: page.render(params.report.title, sections, introduction.PARAGRAPHS),
    }
    first = evaluated.summaries[0]
    drawn = curves.drawn_of(params.report.curves, first)
    own = [name for name in drawn if first.by_name[name].imported is None]
    picture = overview.draw(params.report.title, first, own, more.samples)

    metrics = evaluated.metrics() | {part.KEY: values for part in further if (values := part.metrics())}
    write_json(root / paths.SUMMARY, metrics)
    write_json(root / paths.HEADLINE, summary.headline(first, drawn))
    for path, text in texts.items():
        write_text(root / path, text)
    with atomic_path(root / paths.OVERVIEW) as temporary:
        temporary.write_bytes(picture)
    return {
        "metrics": metrics,
        "headline": {name: list(measured.sentences) for name, measured in evaluated.measured.items()},
        "outputs": [str(path) for path in (paths.SUMMARY, paths.HEADLINE, *texts, paths.OVERVIEW)],
    }


def _check_names(names: Sequence[str]) -> None:
    """Refuse a benchmark whose metrics would be those of a part."""
    for part in PARTS:
        if part.KEY in names:
            raise InvalidData(f"no benchmark can be called {part.KEY!r}, a key of reports/metrics.json; rename it")

"""What people look at: the table, the plots, the page, and one metrics file for `dvc metrics diff`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clipn.config import BenchmarkParams, ReportParams
from clipn.io import atomic_path, write_json, write_text
from clipn.report import curves, inputs, overview, page, samples, summary, table, training


def build(
    names: Sequence[str],
    benchmarks: Mapping[str, BenchmarkParams],
    seeds: Sequence[int],
    report: ReportParams,
    root: Path = Path(),
    imported: Sequence[str] = (),
) -> dict[str, Any]:
    """Read what the earlier stages left under `root` and write everything in `reports/` that sums it up.

    Written: `metrics.json`, `results.md`, `report.html`, `overview.png`, and `plots/` with `roc/` (a
    file for each benchmark; seeds averaged at equal false positive rate), `auroc.csv`, `average.csv` and
    `histograms.csv` (first seed).

    Args:
        names: of the benchmarks that were evaluated; the first one is shown in `overview.png`.
        benchmarks: name → its sets.
        seeds: of the training runs, each with metrics, scores and a training log.
        report: title, and whether to show the published table.
        root: the project's folder.
        imported: names of the imported models that were evaluated too.

    Returns:
        `metrics` (content of metrics.json), `headline` (benchmark → sentences), `outputs` (paths below `root`).

    Raises:
        InvalidData: a model's file is missing, a method is missing in one seed, or a file is damaged.
        MissingInput: an evaluation set is missing.
        NonFinite: an input holds NaN or an infinity.
    """
    summaries, data = [], {}
    for name in names:
        runs = [inputs.read_run(root, name, benchmarks[name], f"seed-{seed}") for seed in seeds]
        others = [inputs.read_run(root, name, benchmarks[name], f"imported-{model}") for model in imported]
        summaries.append(summary.summarise(runs, others))
        data[name] = _plots(summaries[-1], _scores(root, [*runs, *others]))
    records = {seed: training.read(root, seed) for seed in seeds}
    sets = dict.fromkeys(name for benchmark in summaries for name in (benchmark.id, *benchmark.ood))
    stages = inputs.read_stages(root, _stages(names, sets, seeds, imported))
    shown = {name: samples.read(root, name, page.TILES) for name in sets}

    metrics = summary.metrics(summaries)
    histograms = {(name, method): h for name, plots in data.items() for method, h in plots.histograms.items()}
    texts = {
        "reports/results.md": table.markdown(report.title, summaries, report.published),
        **{f"reports/plots/roc/{name}.csv": curves.roc_csv(plots.roc) for name, plots in data.items()},
        "reports/plots/average.csv": curves.average_csv(summaries),
        "reports/plots/auroc.csv": curves.auroc_csv(summaries),
        "reports/plots/histograms.csv": curves.histograms_csv(histograms),
        "reports/report.html": page.render(report.title, summaries, data, shown, records, stages, report.published),
    }
    picture = overview.draw(report.title, summaries[0], shown)

    write_json(root / "reports/metrics.json", metrics)
    for name, text in texts.items():
        write_text(root / name, text)
    with atomic_path(root / "reports/overview.png") as temporary:
        temporary.write_bytes(picture)
    return {
        "metrics": metrics,
        "headline": {benchmark.name: summary.headline(benchmark) for benchmark in summaries},
        "outputs": ["reports/metrics.json", *texts, "reports/overview.png"],
    }


def _stages(benchmarks: Iterable[str], sets: Iterable[str], seeds: Sequence[int], imported: Sequence[str]) -> list[str]:
    """Names of the stages that led here, in their order; reports of another profile's stages may lie beside theirs."""
    return [
        *("captions", "download", "backbone", "features"),
        *(f"{stage}-{name}" for stage in ("sets", "set_features") for name in sets),
        *(f"train-{seed}" for seed in seeds),
        *(f"evaluate-{name}-{seed}" for name in benchmarks for seed in seeds),
        *(f"evaluate_imported-{name}-{model}" for name in benchmarks for model in imported),
    ]


def _scores(root: Path, runs: Iterable[inputs.Run]) -> dict[str, list[inputs.Scores]]:
    """Name of each row of the table → its scores, those of each seed in turn."""
    found: dict[str, list[inputs.Scores]] = {}
    for run in runs:
        for method, scores in inputs.read_scores(root, run).items():
            found.setdefault(summary.row_name(method, run), []).append(scores)
    return found


def _plots(benchmark: summary.BenchmarkSummary, scores: Mapping[str, Sequence[inputs.Scores]]) -> page.Plots:
    """Curves over all seeds for methods that depend on them, over the first one for the others."""
    return page.Plots(
        roc={m.name: curves.roc(scores[m.name] if m.trained else scores[m.name][:1]) for m in benchmark.methods},
        histograms={m.name: curves.histogram(scores[m.name][0]) for m in benchmark.methods},
    )

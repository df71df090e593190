"""Stage `robustness`: scores of one benchmark under corrupted images and other names of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect.artifacts import create_table_artifact

from clipn import paths
from clipn.config import RobustnessParams
from clipn.evaluation import corruptions, robustness
from clipn.evaluation.results.robustness import RobustnessResult
from clipn.evaluation.robustness import Renaming, Study
from clipn.features import select
from clipn.project.params import read_params
from clipn.prompts import wordnet
from clipn.scores.panel import BySeed
from flows.evaluation import Bench, left_out
from flows.runtime import machine
from flows.runtime.progress import StageProgress
from flows.runtime.stage import stage


@stage("robustness")
def run(benchmark: str) -> dict[str, Any]:
    """Score the sets of a benchmark when their images are corrupted, and when the classes go by other names."""
    params = read_params()
    options = params.robustness
    bench = Bench.open(params, benchmark, options.methods)
    sets = bench.sets.benchmark
    study = Study(
        bench.clip,
        sets,
        bench.panel,
        bench.evidence,
        batch_size=params.features.batch_size,
        max_pixels=params.features.max_pixels,
        workers=machine.workers(),
    )
    dropped = left_out(params, benchmark, params.overlap.leave_out)
    conditions = study.run(
        bench.sets.lookup(),
        {
            name: select.some(bench.sets.stores[name], options.images, dropped.get(name, ()))
            for name in (sets.id, *sets.ood)
        },
        corruptions.chosen(options),
        _renamings(bench, options),
        StageProgress("corrupted images"),
    )
    result = RobustnessResult(benchmark=benchmark, id=sets.id, ood=sets.ood, seeds=tuple(bench.seeds), **conditions)
    result.write(paths.ROBUSTNESS / f"{benchmark}.json")
    _show(result)
    return {
        "counts": {
            "images": sum(result.images.values()),
            "corruptions": len(corruptions.chosen(options)),
            "methods": len(bench.panel.methods),
        },
        "skipped": dict(bench.panel.skipped),
        "device": str(bench.clip.device),
    }


def _renamings(bench: Bench, options: RobustnessParams) -> list[Renaming]:
    """The other names that the parameters ask for; none where the backbone knows no names."""
    if not bench.clip.has_text:
        return []
    classes = bench.sets.classes

    def renamed(names: Sequence[str], templates: str | None = None) -> BySeed:
        return bench.sources.renamed(bench.evidence, bench.models, names, templates)

    renamings = [Renaming(f"templates {name}", len(classes), renamed(classes, name)) for name in options.templates]
    if options.synonyms:
        names, changed = robustness.synonyms(classes, wordnet.load().synonyms)
        renamings.append(Renaming("synonyms", changed, renamed(names)))
    return renamings


def _show(result: RobustnessResult) -> None:
    """Show the result as a table in the Prefect UI."""
    create_table_artifact(
        key=f"robustness-{result.benchmark}".lower().replace("_", "-"),
        table=[
            {
                "change": change,
                **{
                    method: f"{100 * sum(measured.auroc) / len(measured.auroc):.2f}"
                    for method, measured in condition.methods.items()
                },
            }
            for change, condition in result.conditions.items()
        ],
        description=f"{result.benchmark}: average AUROC in percent, mean of seeds",
    )

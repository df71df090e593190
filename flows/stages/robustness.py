"""Stage `robustness`: scores of one benchmark under corrupted images and other names of the classes."""

from __future__ import annotations

from typing import Any

from prefect.artifacts import create_table_artifact

from clipn import paths
from clipn.config import Params
from clipn.evaluation import by_seed, corruptions, evidence, robustness, scoring
from clipn.evaluation.evidence import Sets
from clipn.evaluation.results.robustness import RobustnessResult
from clipn.evaluation.robustness import Renaming, Study
from clipn.evaluation.scoring import BySeed
from clipn.features import select
from clipn.models import backbone
from clipn.models.backbone import Backbone
from clipn.project.params import read_params
from clipn.prompts import wordnet
from flows.runtime import machine
from flows.runtime.stage import StageProgress, stage


@stage("robustness")
def run(benchmark: str) -> dict[str, Any]:
    """Score the sets of a benchmark when their images are corrupted, and when the classes go by other names."""
    params = read_params()
    options = params.robustness
    clip = backbone.load(paths.BACKBONE, machine.device())
    sets = Sets.open(params, benchmark, clip.fingerprint)
    known = by_seed.gather(params, sets, clip, options.methods)
    panel, skipped = scoring.fit(options.methods, known, sets.stores[sets.benchmark.id].meta)
    study = Study(
        clip,
        sets.benchmark,
        panel,
        known,
        batch_size=params.features.batch_size,
        max_pixels=params.features.max_pixels,
        workers=machine.workers(),
    )
    left_out = evidence.left_out(params, benchmark)
    names = (sets.benchmark.id, *sets.benchmark.ood)
    conditions = study.run(
        by_seed.images(sets),
        {name: select.some(sets.stores[name], options.images, left_out.get(name, ())) for name in names},
        corruptions.chosen(options),
        _renamings(params, sets, clip, known),
        StageProgress("corrupted images"),
    )
    result = RobustnessResult(
        benchmark=benchmark,
        id=sets.benchmark.id,
        ood=sets.benchmark.ood,
        seeds=tuple(seed for seed in known if seed is not None),
        **conditions,
    )
    result.write(paths.ROBUSTNESS / f"{benchmark}.json")
    _show(result)
    return {
        "counts": {
            "images": sum(result.images.values()),
            "corruptions": len(corruptions.chosen(options)),
            "methods": len(panel),
        },
        "skipped": skipped,
        "device": str(clip.device),
    }


def _renamings(params: Params, sets: Sets, clip: Backbone, known: BySeed) -> list[Renaming]:
    """The other names that the parameters ask for; none where the backbone knows no names."""
    if not clip.has_text:
        return []
    renamings = [
        Renaming(
            f"templates {name}",
            len(sets.classes),
            by_seed.renamed(params, sets, clip, known, sets.classes, templates=name),
        )
        for name in params.robustness.templates
    ]
    if params.robustness.synonyms:
        names, changed = robustness.synonyms(sets.classes, wordnet.load().synonyms)
        renamings.append(Renaming("synonyms", changed, by_seed.renamed(params, sets, clip, known, names)))
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

"""Stage `robustness`: scores of one benchmark under corrupted images and other names of the classes."""

from __future__ import annotations

from typing import Any

from prefect.artifacts import create_table_artifact

from clipn import paths
from clipn.config import Params
from clipn.evaluation import by_seed, corruptions, evidence, robustness, scoring
from clipn.evaluation.evidence import Sets
from clipn.evaluation.robustness import Renaming, Study
from clipn.evaluation.scoring import BySeed
from clipn.features import select
from clipn.models import backbone
from clipn.models.backbone import Backbone
from clipn.project.params import read_params
from clipn.prompts import wordnet
from clipn.utils import files
from flows.runtime import machine
from flows.runtime.progress import StageProgress
from flows.runtime.stage import stage


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
    result = study.run(
        by_seed.images(sets),
        {name: select.some(sets.stores[name], options.images, left_out.get(name, ())) for name in names},
        corruptions.chosen(options),
        _renamings(params, sets, clip, known),
        StageProgress("corrupted images"),
    )
    report = {
        "benchmark": benchmark,
        "id": sets.benchmark.id,
        "ood": list(sets.benchmark.ood),
        "seeds": [seed for seed in known if seed is not None],
        **result,
    }
    files.write_json(paths.ROBUSTNESS / f"{benchmark}.json", report)
    _show(report)
    return {
        "counts": {
            "images": sum(result["images"].values()),
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


def _show(report: dict[str, Any]) -> None:
    """The result as a table in the Prefect UI."""
    rows = [
        ("clean", "", report["clean"]),
        *((f"{entry['name']} {entry['level']:g}", entry["where"], entry) for entry in report["corruptions"]),
        *((entry["change"], "", entry) for entry in report["names"]),
    ]
    create_table_artifact(
        key=f"robustness-{report['benchmark']}".lower().replace("_", "-"),
        table=[
            {
                "change": change,
                "where": where,
                **{
                    method: f"{100 * sum(numbers['auroc']) / len(numbers['auroc']):.2f}"
                    for method, numbers in entry["methods"].items()
                },
            }
            for change, where, entry in rows
        ],
        description=f"{report['benchmark']}: average AUROC in percent, mean of seeds",
    )

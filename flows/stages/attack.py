"""Stage `attack`: OOD images of one benchmark moved towards ID images, and what scores make of them."""

from __future__ import annotations

from typing import Any

from prefect.artifacts import create_table_artifact

from clipn import paths
from clipn.evaluation import by_seed, evidence, scoring
from clipn.evaluation.attack import study
from clipn.evaluation.evidence import Sets
from clipn.models import backbone
from clipn.project.params import read_params
from clipn.utils import files
from flows.runtime import machine
from flows.runtime.progress import StageProgress
from flows.runtime.stage import stage


@stage("attack")
def run(benchmark: str) -> dict[str, Any]:
    """Move OOD images of a benchmark towards ID images in the space of the features, and score them again."""
    params = read_params()
    options = params.attack
    clip = backbone.load(paths.BACKBONE, machine.device())
    sets = Sets.open(params, benchmark, clip.fingerprint)
    known = by_seed.gather(params, sets, clip, options.methods)
    panel, skipped = scoring.fit(options.methods, known, sets.stores[sets.benchmark.id].meta)
    attacked = study.run(
        clip,
        sets.benchmark,
        by_seed.images(sets),
        panel,
        known,
        options,
        left_out=evidence.left_out(params, benchmark),
        max_pixels=params.features.max_pixels,
        workers=machine.workers(),
        progress=StageProgress("steps of images"),
    )
    with files.atomic_folder(paths.ATTACK / benchmark) as folder:
        attacked.write(folder)
    report = {
        "benchmark": benchmark,
        "id": sets.benchmark.id,
        "ood": list(sets.benchmark.ood),
        "images": len(attacked.pairs),
        "steps": options.steps,
        "seeds": [seed for seed in known if seed is not None],
        "kinds": attacked.kinds,
    }
    files.write_json(paths.ATTACKS / f"{benchmark}.json", report)
    _show(report)
    return {
        "counts": {"images": len(attacked.pairs), "kinds": len(attacked.kinds), "methods": len(panel)},
        "skipped": skipped,
        "device": str(clip.device),
    }


def _show(report: dict[str, Any]) -> None:
    """The result as a table in the Prefect UI."""
    create_table_artifact(
        key=f"attack-{report['benchmark']}".lower().replace("_", "-"),
        table=[
            {
                "change": kind,
                "method": method,
                "before": _percent(numbers["before"]),
                "after": _percent(numbers["after"]),
                "targets left out": _percent(numbers.get("after_without_targets", [])),
            }
            for kind, result in report["kinds"].items()
            for method, numbers in result["methods"].items()
        ],
        description=f"{report['benchmark']}: AUROC in percent, {report['images']} moved OOD images, mean of seeds",
    )


def _percent(auroc: list[float]) -> str:
    return f"{100 * sum(auroc) / len(auroc):.2f}" if auroc else ""

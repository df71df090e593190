"""Stage `attack`: OOD images of one benchmark moved towards ID images, and what scores make of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect.artifacts import create_table_artifact

from clipn import paths
from clipn.evaluation.attack import study
from clipn.evaluation.results.attack import AttackResult
from clipn.project.params import read_params
from clipn.utils import files
from flows.evaluation import Bench, left_out
from flows.runtime import machine
from flows.runtime.progress import StageProgress
from flows.runtime.stage import stage


@stage("attack")
def run(benchmark: str) -> dict[str, Any]:
    """Move OOD images of a benchmark towards ID images in the space of the features, and score them again."""
    params = read_params()
    options = params.attack
    bench = Bench.open(params, benchmark, options.methods)
    sets = bench.sets.benchmark
    attacked = study.run(
        bench.clip,
        sets,
        bench.sets.lookup(),
        bench.panel,
        bench.evidence,
        options,
        left_out=left_out(params, benchmark, params.overlap.leave_out),
        max_pixels=params.features.max_pixels,
        workers=machine.workers(),
        progress=StageProgress("steps of images"),
    )
    with files.atomic_folder(paths.ATTACK / benchmark) as folder:
        attacked.write(folder)
    result = AttackResult(
        benchmark=benchmark,
        id=sets.id,
        ood=sets.ood,
        images=len(attacked.pairs),
        steps=options.steps,
        seeds=tuple(bench.seeds),
        kinds=dict(attacked.kinds),
    )
    result.write(paths.ATTACKS / f"{benchmark}.json")
    _show(result)
    return {
        "counts": {"images": len(attacked.pairs), "kinds": len(attacked.kinds), "methods": len(bench.panel.methods)},
        "skipped": dict(bench.panel.skipped),
        "device": str(bench.clip.device),
    }


def _show(result: AttackResult) -> None:
    """Show the result as a table in the Prefect UI."""
    create_table_artifact(
        key=f"attack-{result.benchmark}".lower().replace("_", "-"),
        table=[
            {
                "change": name,
                "method": method,
                "before": _percent(attacked.before),
                "after": _percent(attacked.after),
                "targets left out": _percent(attacked.after_without_targets or ()),
            }
            for name, kind in result.kinds.items()
            for method, attacked in kind.methods.items()
        ],
        description=f"{result.benchmark}: AUROC in percent, {result.images} moved OOD images, mean of seeds",
    )


def _percent(auroc: Sequence[float]) -> str:
    return f"{100 * sum(auroc) / len(auroc):.2f}" if auroc else ""

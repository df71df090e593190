"""Stage `evaluate`: every method on one benchmark with one trained model."""

from __future__ import annotations

from typing import Any

import pyarrow.parquet as pq
from prefect.artifacts import create_table_artifact

from clipn import backbone, config, evaluate, io, metrics, no_encoder, templates
from clipn.class_text import class_evidence
from clipn.errors import InvalidData
from clipn.store import FeatureStore
from flows import machine, paths
from flows.stage import main, stage


@stage("evaluate")
def run(benchmark: str, seed: int) -> dict[str, Any]:
    """Score the ID and OOD sets of a benchmark on their cached features."""
    params = config.load()
    options, sets = params.evaluate, config.named(params.benchmarks, "benchmarks", benchmark)
    clip = backbone.load(paths.BACKBONE, machine.device())
    stores = {name: FeatureStore.open(paths.SET_FEATURES / name, clip.fingerprint) for name in (sets.id, *sets.ood)}
    classes = stores[sets.id].meta.classes
    if not classes:
        raise InvalidData(f"the ID set {sets.id!r} of benchmark {benchmark!r} has no classes")
    sentences = templates.load(options.templates)
    no = no_encoder.load(paths.model(seed), clip.model, clip.fingerprint).to(clip.device)
    evidence = class_evidence(clip, no, classes, sentences, options.logit_scale)
    loaded = {name: store.load() for name, store in stores.items()}
    result = evaluate.evaluate(benchmark, sets, loaded, evidence, options.methods, options.fpr_convention)

    scores_path = paths.SCORES / benchmark / f"seed-{seed}.parquet"
    with io.atomic_path(scores_path) as path:
        pq.write_table(result.scores, path)
    io.write_json(
        paths.METRICS / benchmark / f"seed-{seed}.json",
        {**result.metrics, "seed": seed, "templates": options.templates},
    )
    _show(benchmark, seed, result.metrics)
    return {"counts": {"images": result.scores.num_rows, "methods": len(options.methods)}}


def _show(benchmark: str, seed: int, values: dict[str, Any]) -> None:
    """The result as a table in the Prefect UI."""
    fpr95 = metrics.fpr95_key(values["fpr_convention"])
    create_table_artifact(
        key=f"evaluate-{benchmark}-seed-{seed}".lower().replace("_", "-"),
        table=[
            {
                "method": method,
                "OOD set": ood,
                "AUROC": f"{100 * numbers['auroc']:.2f}",
                "FPR95": f"{100 * numbers[fpr95]:.2f}",
            }
            for method, result in values["methods"].items()
            for ood, numbers in result["ood"].items()
        ],
        description=f"{benchmark}, seed {seed}: percent, ID accuracy {100 * values['id_accuracy']:.2f}",
    )


if __name__ == "__main__":
    main(run)

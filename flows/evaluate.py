"""Stage `evaluate`: every method on one benchmark with one trained model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq
from prefect.artifacts import create_table_artifact

from clipn import backbone, class_text, config, evaluate, io, metrics, no_encoder
from clipn.config import Params
from clipn.errors import InvalidData
from clipn.store import FeatureStore
from flows import machine, paths
from flows.stage import main, stage


@stage("evaluate")
def run(benchmark: str, seed: int) -> dict[str, Any]:
    """Score the ID and OOD sets of a benchmark on their cached features."""
    params = config.load()
    return score(params, benchmark, paths.model(seed), "seed", seed, params.evaluate.methods)


def score(
    params: Params,
    benchmark: str,
    folder: Path,
    kind: Literal["seed", "imported"],
    name: int | str,
    methods: Sequence[str],
) -> dict[str, Any]:
    """Evaluate the model in `folder`; metrics and scores are written to files called `kind-name`."""
    options, sets = params.evaluate, config.named(params.benchmarks, "benchmarks", benchmark)
    clip = backbone.load(paths.BACKBONE, machine.device())
    stores = {key: FeatureStore.open(paths.SET_FEATURES / key, clip.fingerprint) for key in (sets.id, *sets.ood)}
    classes = stores[sets.id].meta.classes
    if not classes:
        raise InvalidData(f"the ID set {sets.id!r} of benchmark {benchmark!r} has no classes")
    model = no_encoder.read_config(folder)
    no = no_encoder.load(folder, clip.model, clip.fingerprint).to(clip.device)
    sentences = class_text.sentences(model, options.templates)
    evidence = class_text.class_evidence(clip, no, classes, sentences, options.logit_scale)
    loaded = {key: store.load() for key, store in stores.items()}
    result = evaluate.evaluate(benchmark, sets, loaded, evidence, methods, options.fpr_convention)

    label = f"{kind}-{name}"
    with io.atomic_path(paths.SCORES / benchmark / f"{label}.parquet") as path:
        pq.write_table(result.scores, path)
    io.write_json(
        paths.METRICS / benchmark / f"{label}.json",
        {**result.metrics, kind: name, "templates": model.paired_templates or options.templates},
    )
    _show(benchmark, label, result.metrics)
    return {"counts": {"images": result.scores.num_rows, "methods": len(methods)}}


def _show(benchmark: str, label: str, values: dict[str, Any]) -> None:
    """The result as a table in the Prefect UI."""
    fpr95 = metrics.fpr95_key(values["fpr_convention"])
    create_table_artifact(
        key=f"evaluate-{benchmark}-{label}".lower().replace("_", "-"),
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
        description=f"{benchmark}, {label}: percent, ID accuracy {100 * values['id_accuracy']:.2f}",
    )


if __name__ == "__main__":
    main(run)

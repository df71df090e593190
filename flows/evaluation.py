"""What the stages that score a benchmark share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from prefect.artifacts import create_table_artifact

from clipn import paths
from clipn.config import Params
from clipn.evaluation import benchmark as evaluate
from clipn.evaluation import evidence
from clipn.evaluation.benchmark import Evaluation
from clipn.evaluation.evidence import Sets
from clipn.evaluation.results.benchmark import BenchmarkMetrics
from clipn.models import backbone, no_encoder
from clipn.utils import files
from flows.runtime import machine


def measure(params: Params, benchmark: str, methods: Sequence[str], model: Path | None = None) -> Evaluation:
    """Score a benchmark on the pipeline's features.

    Args:
        params: of the pipeline.
        benchmark: its name.
        methods: names of scores.
        model: folder of the no encoder; None for methods that need none.

    Raises:
        ClipnError: the benchmark, its features or the model are not there or do not fit together.
    """
    options = params.evaluate
    clip = backbone.load(paths.BACKBONE, machine.device())
    sets = Sets.open(params, benchmark, clip.fingerprint)
    result = evaluate.evaluate(
        benchmark,
        sets.benchmark,
        lambda name: sets.load(methods, name),
        evidence.gather(params, sets, clip, methods, model),
        methods,
        options.fpr_convention,
        replicates=options.bootstrap,
        left_out=evidence.left_out(params, benchmark),
    )
    paired = None if model is None else no_encoder.read_config(model).paired_templates
    marks = {"templates": paired or options.templates, "leave_out": params.overlap.leave_out}
    return replace(result, metrics={**result.metrics, **marks})


def score(
    params: Params,
    benchmark: str,
    methods: Sequence[str],
    label: str,
    marks: dict[str, Any] | None = None,
    model: Path | None = None,
) -> dict[str, Any]:
    """Score a benchmark and write metrics and scores to files called `label`; gives the stage's report.

    Args:
        params: of the pipeline.
        benchmark: its name.
        methods: names of scores.
        label: `baselines`, `seed-N` or `imported-NAME`.
        marks: further keys of the metrics file.
        model: folder of the no encoder; None for methods that need none.
    """
    result = measure(params, benchmark, methods, model)
    values = BenchmarkMetrics(**result.metrics, **(marks or {}))
    with files.atomic_path(paths.SCORES / benchmark / f"{label}.parquet") as path:
        pq.write_table(result.scores, path)
    values.write(paths.METRICS / benchmark / f"{label}.json")
    show(f"evaluate-{benchmark}-{label}", f"{benchmark}, {label}", values)
    dropped = {"duplicate": count} if (count := sum(values.left_out.values())) else {}
    counts = {"images": result.scores.num_rows, "methods": len(values.methods), "dropped": dropped}
    return {"counts": counts, "skipped": values.skipped}


def show(key: str, title: str, values: BenchmarkMetrics) -> None:
    """Show a result as a table in the Prefect UI."""
    accuracy = values.id_accuracy
    create_table_artifact(
        key=key.lower().replace("_", "-"),
        table=[
            {
                "method": name,
                "OOD set": ood,
                "AUROC": f"{100 * measures.auroc:.2f}",
                "FPR95": f"{100 * getattr(measures, values.fpr_key):.2f}",
            }
            for name, method in values.methods.items()
            for ood, measures in [*method.ood.items(), ("average", method.average)]
        ],
        description=f"{title}: percent" + ("" if accuracy is None else f", ID accuracy {100 * accuracy:.2f}"),
    )

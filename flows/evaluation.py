"""What the stages that score a benchmark share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from prefect.artifacts import create_table_artifact

from clipn import config, paths
from clipn.config import Params
from clipn.evaluation import duplicates
from clipn.evaluation.benchmark import Evaluation
from clipn.evaluation.evidence import Sets, Sources
from clipn.evaluation.results.benchmark import BenchmarkMetrics
from clipn.evaluation.stores import evaluate
from clipn.models import backbone
from clipn.models.backbone import Backbone
from clipn.prompts import words
from clipn.scores.panel import BySeed, Panel, kinds_of
from clipn.utils import files
from flows.runtime import machine


def measure(
    params: Params,
    benchmark: str,
    methods: Sequence[str],
    model: Path | None = None,
    *,
    clip: Backbone | None = None,
    features: Path = paths.SET_FEATURES,
    leave_out: str,
) -> Evaluation:
    """Score a benchmark on the pipeline's features.

    Args:
        params: of the pipeline.
        benchmark: its name.
        methods: names of scores.
        model: folder of the "No" text encoder; None for methods that need none.
        clip: the backbone of the features; None loads the pipeline's own.
        features: folder with a feature store a set.
        leave_out: which duplicates do not count, as in `overlap.leave_out`.

    Raises:
        ClipnError: the benchmark, its features or the model are not there or do not fit together.
    """
    options = params.evaluate
    clip = clip or backbone.load(paths.BACKBONE, machine.device())
    result = evaluate(
        clip,
        open_sets(params, benchmark, clip, features),
        methods,
        model=model,
        name=benchmark,
        templates=options.templates,
        logit_scale=options.logit_scale,
        words=paths.WORDS / words.FILE,
        fpr_convention=options.fpr_convention,
        replicates=options.bootstrap,
        left_out=left_out(params, benchmark, leave_out),
    )
    return replace(result, metrics={**result.metrics, "leave_out": leave_out})


def open_sets(params: Params, benchmark: str, clip: Backbone, features: Path = paths.SET_FEATURES) -> Sets:
    """Open the features of a benchmark's sets, which the backbone `clip` made."""
    sets = config.named(params.benchmarks, "benchmarks", benchmark)
    return Sets.open(sets, clip.fingerprint, features, paths.SETS)


def left_out(params: Params, benchmark: str, leave_out: str) -> dict[str, frozenset[str]]:
    """Return OOD set → images that are duplicates and do not count."""
    if leave_out == "none":
        return {}
    table = duplicates.read(paths.OVERLAP / benchmark)
    return duplicates.left_out(table, params.benchmarks[benchmark].ood, leave_out)


@dataclass(frozen=True)
class Bench:
    """A benchmark that is ready to be scored again and again, with the models of all seeds.

    Attributes:
        clip: the backbone.
        sets: of the benchmark.
        sources: where its evidence comes from.
        models: training seed → folder of the "No" text encoder.
        evidence: of each seed.
        panel: fitted methods.
    """

    clip: Backbone
    sets: Sets
    sources: Sources
    models: Mapping[int, Path]
    evidence: BySeed
    panel: Panel

    @classmethod
    def open(cls, params: Params, benchmark: str, methods: Sequence[str]) -> Bench:
        """Open a benchmark of the pipeline and fit the methods."""
        clip = backbone.load(paths.BACKBONE, machine.device())
        sets = open_sets(params, benchmark, clip)
        options = params.evaluate
        sources = Sources(clip, sets, options.templates, options.logit_scale, paths.WORDS / words.FILE)
        models = {seed: paths.model(seed) for seed in params.train.seeds}
        evidence = sources.gather_by_seed(methods, models)
        panel = Panel.fit(methods, evidence, kinds_of(sets.stores[sets.benchmark.id].meta))
        return cls(clip, sets, sources, models, evidence, panel)

    @property
    def seeds(self) -> list[int]:
        return [seed for seed in self.evidence if seed is not None]


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
        model: folder of the "No" text encoder; None for methods that need none.
    """
    result = measure(params, benchmark, methods, model, leave_out=params.overlap.leave_out)
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

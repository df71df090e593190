"""Evaluate scores on a benchmark whose features lie in feature stores."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from clipn import scores
from clipn.errors import InvalidParams
from clipn.evaluation import benchmark
from clipn.evaluation.benchmark import Evaluation
from clipn.evaluation.evidence import Sets, Sources
from clipn.models import no_encoder
from clipn.models.backbone import Backbone
from clipn.utils import devices


def evaluate(
    clip: Backbone,
    sets: Sets,
    methods: Sequence[str],
    *,
    model: Path | None = None,
    name: str = "benchmark",
    templates: str = "openai_imagenet",
    logit_scale: float | None = None,
    words: Path | None = None,
    fpr_convention: str = "id-interpolated",
    replicates: int = 1000,
    left_out: Mapping[str, Collection[str]] | None = None,
) -> Evaluation:
    """Evaluate methods on feature stores: gather the evidence of the ID classes, fit, score, measure.

    Args:
        clip: the backbone that made the features.
        sets: the benchmark and its feature stores.
        methods: names in `clipn.scores.REGISTRY`; those that lack what they need are named in `skipped`.
        model: folder of a "No" text encoder that was trained with `clip`; None leaves out methods that need one.
        name: of the benchmark, for the result and for messages.
        templates: name of a template set of `clipn.prompts.templates`. A model of the hand-crafted variant takes
            the pairs that it was trained with instead, and the result says so.
        logit_scale: factor on cosine similarities; None takes the backbone's own, or the learned one.
        words: file of word features, as `clipn.prompts.words.write` makes it.
        fpr_convention: one of `clipn.metrics.CONVENTIONS`.
        replicates: resamples behind the 95 % intervals.
        left_out: OOD set → keys of images that do not count, such as duplicates of ID images.

    Raises:
        MissingInput, InvalidData, BackboneMismatch: a file is missing, damaged, or of another backbone.
        InvalidParams: there is no such method.
        NonFinite: a score is NaN or infinite; names method, image and set.
        OutOfMemory: features and methods do not fit into the device's memory.
    """
    _check(clip, sets, methods, left_out or {})
    elsewhere = "" if clip.device.type == "cpu" else ", or compute on the CPU (CLIPN_DEVICE=cpu)"
    with devices.memory_errors(f"evaluate fewer methods at once than {len(methods)} (evaluate.methods){elsewhere}"):
        evidence = Sources(clip, sets, templates, logit_scale, words).gather(methods, model)
        result = benchmark.measure(
            name,
            sets.benchmark,
            lambda set_name: sets.load(methods, set_name),
            evidence,
            methods,
            fpr_convention,
            replicates=replicates,
            left_out=left_out,
        )
    paired = None if model is None else no_encoder.read_config(model).paired_templates
    return replace(result, metrics={**result.metrics, "templates": paired or templates})


def _check(clip: Backbone, sets: Sets, methods: Sequence[str], left_out: Collection[str]) -> None:
    for method in methods:
        scores.named(method)
    for name in sets.benchmark.sets:
        sets.stores[name].require_backbone(clip.fingerprint)  # those that came open were not compared yet
    for name in left_out:
        if name not in sets.benchmark.ood:
            raise InvalidParams(
                f"left_out names {name!r}, no OOD set of the benchmark; it has {', '.join(sets.benchmark.ood)}"
            )

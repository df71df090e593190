"""Problems between parameters that are each valid alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from clipn import scores
from clipn.config.data import names_file_of
from clipn.prompts import templates

if TYPE_CHECKING:
    from clipn.config import BackboneParams, Params


WATCHED = {
    "pretrain": "data/download/manifest.parquet",
    "open_clip": "clipn/models/weights.yaml",
    "timm": "clipn/models/weights.yaml",
}
"""Source of a backbone → what DVC watches for it."""
RESERVED = ("study", "attack", "robustness")
"""Names that a benchmark cannot have."""


def contradictions(params: Params) -> list[str]:
    """Return a sentence on each problem."""
    problems = [problem for key in params.benchmarks for problem in _benchmark_problems(params, key)]
    for section in ("evaluate", "study", "attack", "robustness"):
        problems += _unknown(
            f"{section}.benchmarks", getattr(params, section).benchmarks, "benchmark", params.benchmarks
        )
        problems += _unknown(f"{section}.methods", getattr(params, section).methods, "method", scores.REGISTRY)
    problems += _unknown("report.curves", params.report.curves, "method", scores.REGISTRY)
    trained = [name for name in scores.REGISTRY if scores.is_trained(name)]
    if params.evaluate.imported and not set(trained) & set(params.evaluate.methods):
        problems.append(
            'evaluate.imported: no method in evaluate.methods uses the "No" text encoder; add one of '
            + ", ".join(trained)
        )
    if len(set(params.evaluate.imported)) < len(params.evaluate.imported):
        problems.append(f"evaluate.imported: {list(params.evaluate.imported)} names a model twice")
    problems += _unknown("evaluate.templates", [params.evaluate.templates], "set", templates.NAMES)
    problems += _unknown("robustness.templates", params.robustness.templates, "set", templates.NAMES)
    problems += _study_problems(params)
    for name, options in params.sets.items():
        if options.names_file != (expected := names_file_of(options.class_names)):
            problems.append(
                f"sets.{name}.names_file: has to be {expected!r}, which follows from class_names; "
                "write params.yaml again with 'clipn profile NAME'"
            )
        if options.part and max(options.part.take) > options.part.of:
            problems.append(f"sets.{name}.part: there is no part {max(options.part.take)} of {options.part.of}")
        if options.reader == "symbols" and (options.block is None or options.images_per_class is None):
            problems.append(f"sets.{name}: the reader 'symbols' needs block and images_per_class")
        if options.reader in ("cifar", "svhn", "stl10", "layout") and options.registered is None:
            problems.append(f"sets.{name}: the reader {options.reader!r} needs registered (see 'clipn sets list')")
    if params.overlap.leave_out == "id-and-training" and not params.overlap.against_training:
        problems.append("overlap.leave_out: 'id-and-training' needs overlap.against_training: true")
    if params.captions.source != "table" and params.captions.images != params.captions.path:
        problems.append(f"captions.images: is for source 'table'; for {params.captions.source!r} it is captions.path")
    problems += _check_problems(params)
    if params.features.view_scale[0] > params.features.view_scale[1] or params.features.view_scale[0] == 0:
        problems.append(f"features.view_scale: {params.features.view_scale} has to rise, from above 0")
    problems += _unknown("train.paired_templates", [params.train.paired_templates], "set", templates.PAIRED)
    problems += _backbone_problems("backbone", params.backbone)
    if params.backbone.source == "timm":
        problems.append("backbone.source: 'timm' has no text tower, which CLIPN needs; it is for study.backbones")
    return problems


def _unknown(key: str, names: Iterable[str], kind: str, allowed: Iterable[str]) -> list[str]:
    return [f"{key}: unknown {kind} {name!r}; known: {', '.join(allowed)}" for name in names if name not in allowed]


def _benchmark_problems(params: Params, key: str) -> list[str]:
    benchmark, sets = params.benchmarks[key], params.sets
    tested = (benchmark.id, *benchmark.ood)
    problems = _unknown(f"benchmarks.{key}", tested, "set", sets)
    if key in RESERVED:
        problems.append(f"benchmarks.{key}: reports/metrics.json has other things by this name; call it otherwise")
    for role in ("id", "fit"):
        name = getattr(benchmark, role)
        if name in sets and not sets[name].labelled:
            problems.append(f"benchmarks.{key}.{role}: {name!r} stands for the ID classes and needs labelled: true")
    if benchmark.id in benchmark.ood:
        problems.append(f"benchmarks.{key}: {benchmark.id!r} cannot be both ID and OOD")
    if benchmark.fit is not None:
        problems += _unknown(f"benchmarks.{key}.fit", [benchmark.fit], "set", sets)
        if benchmark.fit in tested:
            problems.append(f"benchmarks.{key}.fit: {benchmark.fit!r} is tested too; take other images, as with part")
    if benchmark.validation is not None:
        problems += _unknown(f"benchmarks.{key}.validation", [benchmark.validation], "benchmark", params.benchmarks)
        if other := params.benchmarks.get(benchmark.validation):
            for name in sorted({*tested} & {other.id, *other.ood}):
                problems.append(f"benchmarks.{key}.validation: {benchmark.validation!r} holds the test set {name!r}")
        if benchmark.validation not in params.evaluate.benchmarks and key in params.evaluate.benchmarks:
            problems.append(f"benchmarks.{key}.validation: {benchmark.validation!r} is not in evaluate.benchmarks")
    return problems


def _study_problems(params: Params) -> list[str]:
    problems = []
    for name, options in params.study.backbones.items():
        problems += _backbone_problems(f"study.backbones.{name}", options)
    problems += [
        f'study.methods: {name!r} needs a "No" text encoder, which is trained with one backbone; see evaluate.methods'
        for name in params.study.methods
        if name in scores.REGISTRY and scores.is_trained(name)
    ]
    problems += [
        f"attack.methods: {name!r} needs labels; the attack is for scores that do without"
        for name in params.attack.methods
        if name in scores.REGISTRY and "labels" in scores.REGISTRY[name].needs
    ]
    for section in ("attack", "robustness"):
        problems += [
            f"{section}.benchmarks: {name!r} is not in evaluate.benchmarks, which find its duplicates"
            for name in getattr(params, section).benchmarks
            if name in params.benchmarks and name not in params.evaluate.benchmarks
        ]
    if bool(params.study.backbones) != bool(params.study.benchmarks):
        problems.append("study: give both backbones and benchmarks, or neither")
    if params.study.benchmarks and not params.study.methods:
        problems.append("study.methods: name at least one")
    return problems


def _backbone_problems(key: str, options: BackboneParams) -> list[str]:
    if options.source == "pretrain" and options.pretrain is None:
        return [f"{key}.pretrain: is needed for source 'pretrain'"]
    if options.source == "open_clip" and not (options.name and options.pretrained):
        return [f"{key}: source 'open_clip' needs name and pretrained"]
    if options.source == "timm" and not options.name:
        return [f"{key}: source 'timm' needs name"]
    if options.source in WATCHED and options.path != WATCHED[options.source]:
        return [f"{key}.path: has to be {WATCHED[options.source]!r} for source {options.source!r}"]
    return []


def _check_problems(params: Params) -> list[str]:
    check, problems = params.train.check, []
    for key, name in (("id", check.id), ("ood", check.ood)):
        if name not in params.sets:
            problems.append(f"train.check.{key}: set {name!r} is not in sets; known: {', '.join(params.sets)}")
    if check.id in params.sets and not params.sets[check.id].labelled:
        problems.append(f"train.check.id: {check.id!r} needs classes (labelled: true)")
    if check.id == check.ood:
        problems.append(f"train.check: {check.id!r} cannot be both ID and OOD")
    return problems + _unknown("train.check.templates", [check.templates], "set", templates.NAMES)

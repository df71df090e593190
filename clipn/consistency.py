"""Problems between parameters that are each valid alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipn import scores, templates

if TYPE_CHECKING:
    from clipn.config import Params


def contradictions(params: Params) -> list[str]:
    """A sentence on each problem."""
    problems = []
    for key, benchmark in params.benchmarks.items():
        for name in (benchmark.id, *benchmark.ood):
            if name not in params.sets:
                problems.append(f"benchmarks.{key}: set {name!r} is not in sets; known: {', '.join(params.sets)}")
        if benchmark.id in params.sets and not params.sets[benchmark.id].labelled:
            problems.append(f"benchmarks.{key}: {benchmark.id!r} is the ID set and needs classes (labelled: true)")
        if benchmark.id in benchmark.ood:
            problems.append(f"benchmarks.{key}: {benchmark.id!r} cannot be both ID and OOD")
    problems += [
        f"evaluate.benchmarks: unknown benchmark {name!r}; known: {', '.join(params.benchmarks)}"
        for name in params.evaluate.benchmarks
        if name not in params.benchmarks
    ]
    problems += [
        f"evaluate.methods: unknown method {m!r}; known: {', '.join(scores.REGISTRY)}"
        for m in params.evaluate.methods
        if m not in scores.REGISTRY
    ]
    with_no_encoder = [name for name in scores.REGISTRY if scores.is_trained(name)]
    if params.evaluate.imported and not set(with_no_encoder) & set(params.evaluate.methods):
        known = ", ".join(with_no_encoder)
        problems.append(f"evaluate.imported: no method in evaluate.methods uses the no encoder; add one of {known}")
    if len(set(params.evaluate.imported)) < len(params.evaluate.imported):
        problems.append(f"evaluate.imported: {list(params.evaluate.imported)} names a model twice")
    if params.evaluate.templates not in templates.NAMES:
        known = ", ".join(templates.NAMES)
        problems.append(f"evaluate.templates: unknown set {params.evaluate.templates!r}; known: {known}")
    for name, options in params.sets.items():
        if options.reader == "symbols" and (options.block is None or options.images_per_class is None):
            problems.append(f"sets.{name}: the reader 'symbols' needs block and images_per_class")
        if options.reader in ("cifar", "svhn", "stl10", "layout") and options.registered is None:
            problems.append(f"sets.{name}: the reader {options.reader!r} needs registered (see 'clipn sets list')")
    if params.overlap.leave_out == "id-and-training" and not params.overlap.against_training:
        problems.append("overlap.leave_out: 'id-and-training' needs overlap.against_training: true")
    problems += _check_problems(params)
    if params.features.view_scale[0] > params.features.view_scale[1] or params.features.view_scale[0] == 0:
        problems.append(f"features.view_scale: {params.features.view_scale} has to rise, from above 0")
    if params.train.paired_templates not in templates.PAIRED:
        known = ", ".join(templates.PAIRED)
        problems.append(f"train.paired_templates: unknown set {params.train.paired_templates!r}; known: {known}")
    if params.backbone.source == "pretrain" and params.backbone.pretrain is None:
        problems.append("backbone.pretrain: is needed for source 'pretrain'")
    if params.backbone.source == "open_clip" and not (params.backbone.name and params.backbone.pretrained):
        problems.append("backbone: source 'open_clip' needs name and pretrained")
    return problems


def _check_problems(params: Params) -> list[str]:
    check, problems = params.train.check, []
    for key, name in (("id", check.id), ("ood", check.ood)):
        if name not in params.sets:
            problems.append(f"train.check.{key}: set {name!r} is not in sets; known: {', '.join(params.sets)}")
    if check.id in params.sets and not params.sets[check.id].labelled:
        problems.append(f"train.check.id: {check.id!r} needs classes (labelled: true)")
    if check.id == check.ood:
        problems.append(f"train.check: {check.id!r} cannot be both ID and OOD")
    if check.templates not in templates.NAMES:
        known = ", ".join(templates.NAMES)
        problems.append(f"train.check.templates: unknown set {check.templates!r}; known: {known}")
    return problems

"""What is known of the ID classes with the no encoder of every training seed, for stages that compare all methods."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from clipn import paths, scores
from clipn.config import Params
from clipn.evaluation import evidence
from clipn.evaluation.evidence import Sets
from clipn.evaluation.scoring import BySeed
from clipn.features.lookup import Images
from clipn.models.backbone import Backbone


def gather(params: Params, sets: Sets, clip: Backbone, methods: Collection[str]) -> BySeed:
    """All that these methods may need: without a no encoder, and with each if one of them asks for it."""
    seeds = params.train.seeds if any(scores.is_trained(method) for method in methods) else ()
    plain = evidence.gather(params, sets, clip, methods)
    return renamed(params, sets, clip, {None: plain, **dict.fromkeys(seeds, plain)}, sets.classes)


def renamed(
    params: Params, sets: Sets, clip: Backbone, known: BySeed, classes: Sequence[str], templates: str | None = None
) -> BySeed:
    """The same with the classes by other names, or in other sentences than those of `evaluate.templates`."""
    options = replace(params.evaluate, templates=templates or params.evaluate.templates)
    asked, named = replace(params, evaluate=options), replace(sets, classes=tuple(classes))

    def text(seed: int | None) -> scores.Evidence:
        return evidence.gather(asked, named, clip, (), None if seed is None else paths.model(seed))

    texts = {seed: text(seed) for seed in known}
    return {
        seed: replace(known[seed], yes=of_seed.yes, no=of_seed.no, no_logit_scale=of_seed.no_logit_scale)
        for seed, of_seed in texts.items()
    }


def images(sets: Sets) -> dict[str, Images]:
    """Set name → its images."""
    return {
        name: Images(store, paths.SETS / name / "manifest.parquet", paths.SETS / name)
        for name, store in sets.stores.items()
    }

"""Scores that are fitted once and asked many times: about changed images, about classes by other names.

Scores with a trained no encoder depend on the training seed, so they are fitted once for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from clipn import scores
from clipn.errors import NonFinite
from clipn.features.rows import FeatureBatch, FeatureMeta
from clipn.scores import Evidence, Score
from clipn.utils.arrays import Array

BLOCK = 2048
"""Images scored at a time: bounds the memory of [images, classes] matrices and of patch features."""

BySeed = Mapping[int | None, Evidence]
"""Training seed → what is known of the ID classes with the no encoder of that seed; None → without any."""


@dataclass(frozen=True)
class Fitted:
    """One method: a score for each seed if it is trained, else one.

    Attributes:
        name: in `clipn.scores.REGISTRY`.
        scores: in the order of the seeds.
    """

    name: str
    scores: tuple[Score, ...]

    @property
    def trained(self) -> bool:
        return scores.is_trained(self.name)

    def needs(self, *evidence: str) -> bool:
        """Whether it depends on one of these pieces of evidence."""
        return bool(scores.REGISTRY[self.name].needs & set(evidence))


Panel = Mapping[str, Fitted]
"""Methods by name."""
Values = dict[str, list[Array]]
"""Method → the score of each image [N], once for each of its fitted scores."""


def fit(methods: Iterable[str], evidence: BySeed, meta: FeatureMeta) -> tuple[dict[str, Fitted], dict[str, str]]:
    """The methods that can be fed, fitted, and why the others cannot, in words.

    Args:
        methods: names in `clipn.scores.REGISTRY`.
        evidence: of each seed.
        meta: what features the images have.
    """
    fitted: dict[str, Fitted] = {}
    skipped: dict[str, str] = {}
    for method in methods:
        seeds = [seed for seed in evidence if seed is not None] if scores.is_trained(method) else [None]
        takes = scores.REGISTRY[method].takes
        if not seeds:
            skipped[method] = f"needs {scores.NEEDS['no']}"
        elif lacking := scores.missing(method, evidence[seeds[0]]):
            skipped[method] = f"needs {lacking}"
        elif takes != "image" and not getattr(meta, takes):
            skipped[method] = f"needs {scores.FEATURES[takes]}"
        else:
            fitted[method] = Fitted(method, tuple(scores.fit(method, evidence[seed]) for seed in seeds))
    return fitted, skipped


def needed(panel: Panel, meta: FeatureMeta) -> FeatureMeta:
    """The same features without those of patches, unless one of these methods looks at them."""
    takes = {score.takes for method in panel.values() for score in method.scores}
    return meta if "patches" in takes else replace(meta, patches=0)


def columns(panel: Panel, meta: FeatureMeta, *more: str) -> list[str]:
    """Columns of a store that these methods look at, and `more`, where the store has them."""
    wanted = {"label", *more, *(score.takes for fitted in panel.values() for score in fitted.scores)}
    return [name for name in meta.schema().names if name in wanted]


def ask(panel: Panel, batches: Iterable[FeatureBatch]) -> Values:
    """What every method says of images.

    Args:
        panel: fitted scores.
        batches: of features, at least one image in all.

    Raises:
        NonFinite: a method gave NaN or infinity; names method and image.
    """
    found: dict[str, list[list[Array]]] = {name: [[] for _ in fitted.scores] for name, fitted in panel.items()}
    for batch in batches:
        for start in range(0, len(batch), BLOCK):
            block = batch.rows(slice(start, start + BLOCK))
            takes = {score.takes for fitted in panel.values() for score in fitted.scores}
            features = {kind: scores.features_of(block, kind) for kind in takes}
            for name, fitted in panel.items():
                for i, score in enumerate(fitted.scores):
                    found[name][i].append(_checked(name, score.score(features[score.takes]), block))
    return {name: [np.concatenate(parts) for parts in lists] for name, lists in found.items()}


def _checked(method: str, values: Array, batch: FeatureBatch) -> Array:
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise NonFinite(f"{method} gave {values[bad[0]]} for image {str(batch.keys[int(bad[0])])!r}")
    return values

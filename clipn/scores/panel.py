"""Fit a panel of scores once, and score any number of images with it.

Evaluation, attacks, robustness and the detector all use it, so that one place decides which method can be fitted,
how images are scored in blocks, and that no score is NaN or infinite. A score with a trained "No" text encoder
depends on the training seed, so it is fitted once a seed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from clipn import scores
from clipn.errors import NonFinite
from clipn.features.rows import FeatureBatch, FeatureMeta
from clipn.scores import Classifies, DecidesAlone, Evidence, Score
from clipn.scores.base import Array, Kind

BLOCK = 2048
"""Images scored at a time. It bounds the memory of [images, classes] matrices and of patch features."""

KINDS: tuple[Kind, ...] = ("image", "pooled", "patches")

BySeed = Mapping[int | None, Evidence]
"""Training seed → evidence of the ID classes with the "No" text encoder of that seed; None → without any."""


@dataclass(frozen=True)
class Method:
    """One fitted method.

    Attributes:
        name: in `clipn.scores.REGISTRY`.
        scores: one for each seed, in their order, if the method is trained; else one.
    """

    name: str
    scores: tuple[Score, ...]

    @property
    def trained(self) -> bool:
        return scores.is_trained(self.name)

    def needs(self, *evidence: str) -> bool:
        """Return whether the method depends on one of these fields of `Evidence`."""
        return bool(scores.REGISTRY[self.name].needs & set(evidence))


Values = dict[str, list[Array]]
"""Method → the scores of N images [N], one array for each of its fitted scores."""


@dataclass(frozen=True)
class Scored:
    """What one fitted score says of N images.

    Attributes:
        values: scores [N], float32, finite.
        keeps: the decision without a threshold [N], of a score that decides alone; else None.
        classes: class indices [N], of a score with a classifier of its own; else None.
    """

    values: Array
    keeps: NDArray[np.bool_] | None = None
    classes: NDArray[np.intp] | None = None


@dataclass(frozen=True)
class Panel:
    """Fitted methods.

    Attributes:
        methods: by name, in the order given.
        skipped: of the methods that could not be fitted, what each lacks, in words.
    """

    methods: Mapping[str, Method]
    skipped: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def fit(cls, methods: Iterable[str], evidence: BySeed, kinds: Collection[Kind]) -> Self:
        """Fit the methods that can be fitted, and name what the others lack.

        Args:
            methods: names in `clipn.scores.REGISTRY`.
            evidence: of each seed.
            kinds: which features the images have; see `kinds_of` and `kinds_in`.
        """
        fitted: dict[str, Method] = {}
        skipped: dict[str, str] = {}
        for name in methods:
            seeds = [seed for seed in evidence if seed is not None] if scores.is_trained(name) else [None]
            takes = scores.REGISTRY[name].takes
            if not seeds:
                skipped[name] = f"needs {scores.NEEDS['no']}"
            elif lacking := scores.missing(name, evidence[seeds[0]]):
                skipped[name] = f"needs {lacking}"
            elif takes not in kinds:
                skipped[name] = f"needs {scores.FEATURES[takes]}"
            else:
                fitted[name] = Method(name, tuple(scores.fit(name, evidence[seed]) for seed in seeds))
        return cls(fitted, skipped)

    @property
    def takes(self) -> set[Kind]:
        """The kinds of features that the methods take."""
        return {score.takes for method in self.methods.values() for score in method.scores}

    def needed(self, meta: FeatureMeta) -> FeatureMeta:
        """Return the description of features without patches, unless a method takes them."""
        return meta if "patches" in self.takes else replace(meta, patches=0)

    def columns(self, meta: FeatureMeta, *more: str) -> list[str]:
        """Return the columns of a store that the methods take, and `more`, where the store has them."""
        wanted = {"label", *more, *self.takes}
        return [name for name in meta.schema().names if name in wanted]

    def score(self, batches: Iterable[FeatureBatch]) -> Values:
        """Score images with every method.

        Args:
            batches: of features, at least one image in all.

        Raises:
            NonFinite: a score is NaN or infinite; names method and image.
        """
        return {name: [scored.values for scored in every] for name, every in self.judge(batches).items()}

    def judge(self, batches: Iterable[FeatureBatch]) -> dict[str, list[Scored]]:
        """Score images with every method, and take along the methods' own decisions and classes.

        Args:
            batches: of features, at least one image in all.

        Raises:
            NonFinite: a score is NaN or infinite; names method and image.
        """
        parts: dict[str, list[list[Scored]]] = {
            name: [[] for _ in method.scores] for name, method in self.methods.items()
        }
        for batch in batches:
            for start in range(0, len(batch), BLOCK):
                block = batch.rows(slice(start, start + BLOCK))
                features = {kind: scores.features_of(block, kind) for kind in self.takes}
                for name, method in self.methods.items():
                    for i, score in enumerate(method.scores):
                        parts[name][i].append(_judge(score, features[score.takes], block))
        return {name: [_joined(blocks) for blocks in of_method] for name, of_method in parts.items()}


def kinds_of(meta: FeatureMeta) -> set[Kind]:
    """Return the kinds of features that a store holds."""
    return {kind for kind in KINDS if kind == "image" or getattr(meta, kind)}


def kinds_in(batch: FeatureBatch) -> set[Kind]:
    """Return the kinds of features that a batch holds."""
    return {kind for kind in KINDS if scores.has_features(batch, kind)}


def _judge(score: Score, features: Array, block: FeatureBatch) -> Scored:
    values = score.score(features).astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise NonFinite(f"{score.name} gave {values[bad[0]]} for image {str(block.keys[int(bad[0])])!r}")
    return Scored(
        values,
        score.keeps(features) if isinstance(score, DecidesAlone) else None,
        score.predict(features) if isinstance(score, Classifies) else None,
    )


def _joined(blocks: list[Scored]) -> Scored:
    first = blocks[0]
    return Scored(
        np.concatenate([block.values for block in blocks]),
        None if first.keeps is None else np.concatenate([b.keeps for b in blocks if b.keeps is not None]),
        None if first.classes is None else np.concatenate([b.classes for b in blocks if b.classes is not None]),
    )

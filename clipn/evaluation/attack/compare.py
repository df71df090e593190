"""What moved OOD images do to scores: AUROC of the ID test images against them, before and after."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from clipn import metrics, scores
from clipn.features.crops import Crops
from clipn.features.rows import FeatureBatch
from clipn.scores.panel import BySeed, Panel, Values


@dataclass(frozen=True)
class Moved:
    """OOD images that were moved in one way.

    Attributes:
        weight: λ, what smoothness weighed.
        features: of the moved images, as they are in their files.
        change: mean absolute change of a pixel's channel, in grey levels of 255.
        amplification: by how much the contact sheet shows the change larger than it is.
    """

    weight: float
    features: FeatureBatch
    change: float
    amplification: int


def change(starts: Crops, moved: Crops) -> float:
    """Return the mean absolute difference of pictures [N, H, W, 3], in grey levels of 255."""
    return float(np.abs(moved.astype(np.int16) - starts).mean())


def cosine(features: FeatureBatch, targets: FeatureBatch) -> float:
    """Return the mean cosine of images and their targets, before the projection where the tower has such features."""
    a, b = ((batch.image if batch.pooled is None else batch.pooled).astype(np.float64) for batch in (features, targets))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(axis=1) / norms).mean())


def without_targets(evidence: BySeed, targets: Collection[str]) -> BySeed:
    """Return the same evidence with the targets taken out of the ID images."""

    def reduced(images: FeatureBatch | None) -> FeatureBatch | None:
        if images is None:
            return None
        return images.rows([i for i, key in enumerate(images.keys) if key not in targets])

    return {seed: replace(of_seed, images=reduced(of_seed.images)) for seed, of_seed in evidence.items()}


def compare(
    panel: Panel,
    refitted: Panel,
    id_batches: Iterable[FeatureBatch],
    starts: FeatureBatch,
    targets: FeatureBatch,
    moved: Mapping[str, Moved],
) -> dict[str, Any]:
    """Measure each kind of change: the part `kinds` of the result.

    Args:
        panel: fitted methods.
        refitted: those of them that need ID images, fitted without the targets.
        id_batches: features of the ID test images.
        starts: features of the OOD images [N].
        targets: features of the ID images that they were moved towards [N].
        moved: kind → the moved images [N].

    Raises:
        NonFinite: a score is NaN or infinite.
    """
    every = Panel({**panel.methods, **{_refitted(name): method for name, method in refitted.methods.items()}})
    id_scores = every.score(id_batches)
    before = _aurocs(id_scores, panel.score([starts]))

    def kind(after: Moved) -> dict[str, Any]:
        aurocs = _aurocs(id_scores, every.score([after.features]))
        return {
            "weight": after.weight,
            "cosine_before": cosine(starts, targets),
            "cosine_after": cosine(after.features, targets),
            "change": after.change,
            "difference_times": after.amplification,
            "methods": {
                name: {
                    "trained": scores.is_trained(name),
                    "before": before[name],
                    "after": aurocs[name],
                    **({"after_without_targets": aurocs[_refitted(name)]} if name in refitted.methods else {}),
                }
                for name in panel.methods
            },
        }

    return {name: kind(after) for name, after in moved.items()}


def _refitted(method: str) -> str:
    return f"{method} without the targets"


def _aurocs(id_scores: Values, ood_scores: Values) -> dict[str, list[float]]:
    """Method → AUROC, one for each of its fitted scores."""
    return {
        name: [metrics.auroc(of_id, of_ood) for of_id, of_ood in zip(id_scores[name], values, strict=True)]
        for name, values in ood_scores.items()
    }

"""What every score is: fitted on evidence of the ID classes, then applied to image features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from clipn.scores.word_features import WordFeatures
from clipn.utils.arrays import Array, unit_norm

if TYPE_CHECKING:
    from clipn.features.rows import FeatureBatch

Kind = Literal["image", "pooled", "patches"]
"""Which features a score looks at: `image`, unit-norm in the space of the texts [N, D]; `pooled`, before the
projection and as the tower gives them [N, P]; `patches`, unit-norm, the whole image first and then its T
patches [N, 1 + T, D]."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is given of the ID classes of a benchmark.

    Attributes:
        yes: unit-norm "yes" text features of the classes, [C, D].
        no: unit-norm "no" text features of the classes, [C, D], if a "No" text encoder was trained.
        logit_scale: factor on cosine similarities (1 / temperature).
        no_logit_scale: the factor that a "No" text encoder learned for comparing "yes" with "no"; None takes
            `logit_scale` there too.
        words: features of a word list, for scores that look for labels far from the classes.
        images: features of ID images that are in no test set.
        device: where large matrix products are computed.
    """

    yes: Array | None
    no: Array | None = None
    logit_scale: float = 100.0
    no_logit_scale: float | None = None
    words: WordFeatures | None = None
    images: FeatureBatch | None = None
    device: str = "cpu"

    @property
    def labels(self) -> NDArray[np.int32] | None:
        """Return the class of each of `images` [N], if all of them have one."""
        label = None if self.images is None else self.images.label
        return None if label is None or (label < 0).any() else label

    def has(self, need: str) -> bool:
        """Return whether this field of the evidence is there."""
        return getattr(self, need) is not None

    def fit_features(self, kind: Kind) -> Array:
        """Return features of the ID images as `features_of` gives them; only where `images` are there."""
        assert self.images is not None  # `needs` says so, and `scores.fit` checks it
        return features_of(self.images, kind)


def has_features(batch: FeatureBatch, kind: Kind) -> bool:
    """Return whether rows of a store have features of this kind."""
    return getattr(batch, kind) is not None


def features_of(batch: FeatureBatch, kind: Kind) -> Array:
    """Return stored features as scores take them: float32, and unit-norm where `Kind` says so."""
    if kind == "pooled":
        assert batch.pooled is not None  # callers check `has_features` first
        return batch.pooled.astype(np.float32)
    if kind == "patches":
        assert batch.patches is not None
        return unit_norm(np.concatenate([batch.image[:, None], batch.patches], axis=1), keep_zeros=True)
    return unit_norm(batch.image)


class Score(Protocol):
    """A score on cached features; higher = more in-distribution."""

    name: ClassVar[str]
    needs: ClassVar[frozenset[str]]
    """What has to be there of `Evidence`: `yes` (class names), `no` (a trained "No" text encoder, which makes
    the score depend on the training seed), `words` (a word list), `images` (ID images) and `labels` (their classes)."""
    takes: ClassVar[Kind]
    """The features that `score` is given."""

    def fit(self, evidence: Evidence) -> Self:
        """Fit the score to `evidence` and return the score itself.

        Raises:
            InvalidData, InvalidParams, NonFinite: the evidence cannot be used.
        """
        ...

    def score(self, images: Array) -> Array:
        """Return scores [N] of the features of N images."""
        ...


@runtime_checkable
class DecidesAlone(Protocol):
    """A score that also decides without a threshold."""

    def keeps(self, images: Array) -> NDArray[np.bool_]:
        """Return for each image whether it is taken as in-distribution [N]."""
        ...


@runtime_checkable
class Classifies(Protocol):
    """A score with a classifier of its own, other than the zero-shot one."""

    def predict(self, images: Array) -> NDArray[np.intp]:
        """Return the class index of each image [N]."""
        ...


class NamesOnly:
    """Base of scores that need the class names alone.

    Attributes:
        logit_scale: factor on cosine similarities; set by `fit` unless given.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"yes"})
    takes: ClassVar[Kind] = "image"

    def __init__(self, logit_scale: float | None = None) -> None:
        self._given_scale = logit_scale

    def fit(self, evidence: Evidence) -> Self:
        assert evidence.yes is not None
        self.yes = evidence.yes
        self.logit_scale = self._given_scale if self._given_scale is not None else evidence.logit_scale
        return self

    def yes_logits(self, images: Array) -> Array:
        """Return scaled cosine similarities of images [N, D] with the "yes" texts → [N, C]."""
        return self.logit_scale * (images @ self.yes.T)

    def score(self, images: Array) -> Array:
        raise NotImplementedError

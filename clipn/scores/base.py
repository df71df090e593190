"""What every score is: fitted on what is known about the ID classes, then applied to image features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from clipn.features.rows import FeatureBatch, unit_norm
from clipn.scores.word_features import WordFeatures

Array = NDArray[np.float32]
Kind = Literal["image", "pooled", "patches"]
"""Which features a score looks at: `image`, unit-norm in the space of the texts [N, D]; `pooled`, before the
projection and as the tower gives them [N, P]; `patches`, unit-norm, the whole image first and then its T
patches [N, 1 + T, D]."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a benchmark knows about its ID classes.

    Attributes:
        yes: unit-norm "yes" text features of the classes, [C, D].
        no: unit-norm "no" text features of the classes, [C, D], if a no encoder was trained.
        logit_scale: factor on cosine similarities (1 / temperature).
        no_logit_scale: the factor that a no encoder learned for comparing "yes" with "no"; None takes
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
        """Class of each of `images` [N], if all of them have one."""
        label = None if self.images is None else self.images.label
        return None if label is None or (label < 0).any() else label

    def has(self, need: str) -> bool:
        """Whether this piece of evidence is there."""
        return getattr(self, need) is not None

    def fit_features(self, kind: Kind) -> Array:
        """Features of the ID images, as `features_of` gives them; only where `images` are there."""
        assert self.images is not None  # `needs` says so, and `scores.fit` checks it
        return features_of(self.images, kind)


def has_features(batch: FeatureBatch, kind: Kind) -> bool:
    """Whether rows of a store have features of this kind."""
    return getattr(batch, kind) is not None


def features_of(batch: FeatureBatch, kind: Kind) -> Array:
    """Stored features as scores take them: float32, and unit-norm where `Kind` says so."""
    if kind == "pooled":
        assert batch.pooled is not None  # whoever calls this has asked `has_features`
        return batch.pooled.astype(np.float32)
    if kind == "patches":
        assert batch.patches is not None
        return directions(np.concatenate([batch.image[:, None], batch.patches], axis=1).astype(np.float32))
    return unit_norm(batch.image)


def directions(features: Array) -> Array:
    """Features of any shape [..., D] with unit norm; a zero vector, which has no direction, stays zero.

    That is what a place is where nothing in a rectified feature map is active.
    """
    norm: Array = np.linalg.norm(features, axis=-1, keepdims=True)
    norm[norm == 0] = 1
    return features / norm


class Score(Protocol):
    """A score on cached features; higher = more in-distribution."""

    name: ClassVar[str]
    needs: ClassVar[frozenset[str]]
    """What has to be there of `Evidence`: `yes` (class names), `no` (a trained no encoder, which makes the score
    depend on the training seed), `words` (a word list), `images` (ID images) and `labels` (their classes)."""
    takes: ClassVar[Kind]
    """The features that `score` is given."""

    def fit(self, evidence: Evidence) -> Self:
        """Take what the score needs from `evidence` and return the score itself."""
        ...

    def score(self, images: Array) -> Array:
        """Scores [N] of the features of N images."""
        ...


@runtime_checkable
class DecidesAlone(Protocol):
    """A score that also decides without a threshold."""

    def keeps(self, images: Array) -> NDArray[np.bool_]:
        """True where the image is taken as in-distribution, [N]."""
        ...


@runtime_checkable
class Classifies(Protocol):
    """A score with a classifier of its own, other than the zero-shot one."""

    def predict(self, images: Array) -> NDArray[np.intp]:
        """Class index of each image, [N]."""
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
        """Scaled cosine similarities of images [N, D] with the "yes" texts → [N, C]."""
        return self.logit_scale * (images @ self.yes.T)

    def score(self, images: Array) -> Array:
        raise NotImplementedError

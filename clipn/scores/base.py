"""What every score is: fitted on what is known about the ID classes, then applied to image features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Evidence:
    """What a benchmark knows about its ID classes.

    Attributes:
        yes: unit-norm "yes" text features of the classes, [C, D].
        no: unit-norm "no" text features of the classes, [C, D], if a no encoder was trained.
        logit_scale: factor on cosine similarities (1 / temperature).
        no_logit_scale: the factor that a no encoder learned for comparing "yes" with "no"; None takes
            `logit_scale` there too.
    """

    yes: Array
    no: Array | None = None
    logit_scale: float = 100.0
    no_logit_scale: float | None = None

    def has(self, need: str) -> bool:
        """Whether this piece of evidence is there."""
        return getattr(self, need) is not None


class Score(Protocol):
    """A score on cached features; higher = more in-distribution."""

    name: ClassVar[str]
    needs: ClassVar[frozenset[str]]
    """Fields of `Evidence` that have to be there; "no" makes the score depend on the training seed."""

    def fit(self, evidence: Evidence) -> Self:
        """Take what the score needs from `evidence` and return the score itself."""
        ...

    def score(self, images: Array) -> Array:
        """Scores [N] of unit-norm image features [N, D]."""
        ...


@runtime_checkable
class DecidesAlone(Protocol):
    """A score that also decides without a threshold."""

    def keeps(self, images: Array) -> NDArray[np.bool_]:
        """True where the image is taken as in-distribution, [N]."""
        ...


class NamesOnly:
    """Base of scores that need the class names alone.

    Attributes:
        logit_scale: factor on cosine similarities; set by `fit` unless given.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"yes"})

    def __init__(self, logit_scale: float | None = None) -> None:
        self._given_scale = logit_scale

    def fit(self, evidence: Evidence) -> Self:
        self.yes = evidence.yes
        self.logit_scale = self._given_scale if self._given_scale is not None else evidence.logit_scale
        return self

    def yes_logits(self, images: Array) -> Array:
        """Scaled cosine similarities of images [N, D] with the "yes" texts → [N, C]."""
        return self.logit_scale * (images @ self.yes.T)

    def score(self, images: Array) -> Array:
        raise NotImplementedError

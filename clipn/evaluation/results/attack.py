"""What OOD images that were moved towards ID images do to scores: `reports/attack/BENCHMARK.json`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from clipn.evaluation.results.base import Count, Fraction, OfBenchmark

Aurocs = Annotated[tuple[Fraction, ...], Field(min_length=1)]
"""AUROC: one value a seed for a method with the "No" text encoder, else one."""
KindName = Annotated[str, Field(pattern="^(smooth|patchy)$")]
Cosine = Annotated[float, Field(ge=-1.001, le=1.001)]


@dataclass(frozen=True)
class AttackedMethod:
    """AUROC of one method before and after the change."""

    trained: bool
    before: Aurocs
    after: Aurocs
    after_without_targets: Aurocs | None = None
    """With the targets taken out of the ID images that the method was fitted on; of methods with such images."""


@dataclass(frozen=True)
class AttackKind:
    """One kind of change."""

    weight: Annotated[float, Field(ge=0)]
    """Of the squared image gradients of the change."""
    cosine_before: Cosine
    """Mean cosine of the images' features to their targets'."""
    cosine_after: Cosine
    change: Annotated[float, Field(ge=0)]
    """Mean absolute change of a pixel, in grey levels of 255."""
    difference_times: Annotated[int, Field(ge=1)]
    """By how much the picture shows the change larger than it is."""
    methods: dict[str, AttackedMethod]


@dataclass(frozen=True)
class AttackResult(OfBenchmark):
    """The attack on one benchmark."""

    KIND: ClassVar[str] = "the stage 'attack'"

    images: Count
    """That were moved."""
    steps: Count
    seeds: tuple[int, ...]
    kinds: Annotated[dict[KindName, AttackKind], Field(min_length=1)]

    def contradiction(self) -> str | None:
        """Return which method has another number of values than there are seeds; None if all have the right one."""
        for kind, of_kind in self.kinds.items():
            for name, method in of_kind.methods.items():
                expected = len(self.seeds) if method.trained else 1
                for values in (method.before, method.after, method.after_without_targets or method.after):
                    if len(values) != expected:
                        return f"kinds.{kind}.methods.{name} has {len(values)} values where {expected} are due"
        return None

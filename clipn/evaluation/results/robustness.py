"""How far detection holds under corruptions and other names of the classes: `reports/robustness/BENCHMARK.json`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from clipn.evaluation.results.base import Count, Fraction, OfBenchmark


@dataclass(frozen=True)
class MethodAuroc:
    """AUROC of one method averaged over the OOD sets: one value a seed with the "No" text encoder, else one."""

    trained: bool
    auroc: Annotated[tuple[Fraction, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Condition:
    """What was measured under one condition."""

    id_accuracy: Fraction | None
    """Of zero-shot classification."""
    methods: dict[str, MethodAuroc]


@dataclass(frozen=True)
class Corrupted(Condition):
    """Under one corruption."""

    name: Literal["noise", "blur", "jpeg"]
    level: int | float
    where: Literal["id", "ood", "both"]
    """Which images are corrupted."""

    @property
    def change(self) -> str:
        """The condition in words."""
        return f"{self.name} {self.level:g} {self.where}"


@dataclass(frozen=True)
class Renamed(Condition):
    """With other names of the classes, or in other sentences."""

    change: str
    """Such as `templates photo` or `synonyms`."""
    classes_changed: Count


@dataclass(frozen=True)
class RobustnessResult(OfBenchmark):
    """All conditions on one benchmark."""

    KIND: ClassVar[str] = "the stage 'robustness'"

    images: dict[str, Count]
    seeds: tuple[int, ...]
    clean: Condition
    corruptions: tuple[Corrupted, ...]
    names: tuple[Renamed, ...]

    @property
    def conditions(self) -> dict[str, Condition]:
        """Every condition by name."""
        changed = {corrupted.change: corrupted for corrupted in self.corruptions}
        return {"clean": self.clean, **changed, **{renamed.change: renamed for renamed in self.names}}

    @property
    def trained(self) -> dict[str, bool]:
        """Method → whether it uses the "No" text encoder."""
        return {name: method.trained for name, method in self.clean.methods.items()}

    def contradiction(self) -> str | None:
        """Return which method is not measured on clean images, or not once a seed; None if all are."""
        for change, condition in self.conditions.items():
            for name, method in condition.methods.items():
                if name not in self.clean.methods:
                    return f"{change} has {name}, which clean has not"
                if len(method.auroc) != (len(self.seeds) if method.trained else 1):
                    return f"{change} has {len(method.auroc)} values of {name} for {len(self.seeds)} seeds"
        return None

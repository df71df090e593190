"""How many images of a benchmark are duplicates of others: `reports/overlap/BENCHMARK.json`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from clipn.config import BenchmarkParams
from clipn.errors import InvalidData
from clipn.evaluation.results.base import Count, OfBenchmark


@dataclass(frozen=True)
class Duplicates:
    """Numbers of images that have an exact duplicate, and of those that only have a near one."""

    exact: Count
    near: Count


@dataclass(frozen=True)
class SetOverlap:
    """The duplicates of one set."""

    images: Count
    """Before any is left out."""
    id: Duplicates | None = None
    """None for the ID set itself."""
    training: Duplicates | None = None
    """None where the training images were not compared."""


@dataclass(frozen=True)
class OverlapResult(OfBenchmark):
    """The duplicates of all sets of one benchmark."""

    KIND: ClassVar[str] = "the stage 'overlap'"

    threshold: Annotated[float, Field(gt=0, le=1)]
    """Smallest cosine of near duplicates."""
    sets: dict[str, SetOverlap]

    @property
    def has_duplicates(self) -> bool:
        """Whether an image of any set has a duplicate."""
        return any(
            duplicates.exact + duplicates.near
            for overlap in self.sets.values()
            for duplicates in (overlap.id, overlap.training)
            if duplicates
        )

    def require(self, where: str, name: str, sets: BenchmarkParams) -> None:
        """Raise unless these are the duplicates of all sets of the benchmark `name`, and of no others.

        Raises:
            InvalidData: they are of other sets.
        """
        super().require(where, name, sets)
        if self.sets.keys() != {self.id, *self.ood}:
            counted = ", ".join(self.sets)
            raise InvalidData(
                f"{where} counts {counted}, so it is of other sets than benchmark {name!r}; run 'dvc repro'"
            )

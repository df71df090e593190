"""What the feature study measured with one backbone: `reports/study/BACKBONE.json`."""

from __future__ import annotations

from typing import ClassVar

from pydantic.dataclasses import dataclass

from clipn.evaluation.results.base import Count, Result
from clipn.evaluation.results.benchmark import BenchmarkMetrics


@dataclass(frozen=True)
class StudyResult(Result):
    """One backbone on all benchmarks of the study."""

    KIND: ClassVar[str] = "the stage 'study'"

    backbone: str
    origin: str
    """Where its weights come from, in words."""
    dim: Count
    """Length of a feature."""
    pooled: Count
    """Length of a feature before the projection; 0 without."""
    benchmarks: dict[str, BenchmarkMetrics]

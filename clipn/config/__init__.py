"""The parameters of the pipeline: one frozen dataclass per section of `params.yaml`.

Everything that changes a result is here. Facts of a machine (device, workers, addresses, folders of
licensed data) are read from the environment instead and never enter `params.yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic.dataclasses import dataclass

from clipn.config.data import (
    BenchmarkParams,
    CaptionsParams,
    DownloadParams,
    PartParams,
    ReaderName,
    SetParams,
    WorldParams,
)
from clipn.config.evaluation import (
    AttackParams,
    EvaluateParams,
    OverlapParams,
    ReportParams,
    RobustnessParams,
    StudyParams,
    WordsParams,
)
from clipn.config.models import BackboneParams, FeaturesParams, PretrainParams
from clipn.config.training import CheckParams, TrainParams
from clipn.config.types import STRICT, Name
from clipn.errors import InvalidParams

__all__ = [
    "AttackParams",
    "BackboneParams",
    "BenchmarkParams",
    "CaptionsParams",
    "CheckParams",
    "DownloadParams",
    "EvaluateParams",
    "FeaturesParams",
    "OverlapParams",
    "Params",
    "PartParams",
    "PretrainParams",
    "ReaderName",
    "ReportParams",
    "RobustnessParams",
    "SetParams",
    "StudyParams",
    "TrainParams",
    "WordsParams",
    "WorldParams",
    "named",
]

Entry = TypeVar("Entry")


@dataclass(frozen=True, config=STRICT)
class Params:
    """The whole of `params.yaml`."""

    world: WorldParams
    captions: CaptionsParams
    download: DownloadParams
    backbone: BackboneParams
    features: FeaturesParams
    sets: dict[Name, SetParams]
    benchmarks: dict[Name, BenchmarkParams]
    train: TrainParams
    overlap: OverlapParams
    words: WordsParams
    evaluate: EvaluateParams
    study: StudyParams
    attack: AttackParams
    robustness: RobustnessParams
    report: ReportParams


def named(entries: Mapping[str, Entry], section: str, name: str) -> Entry:
    """Return the entry `name` of a section that maps names to entries.

    Raises:
        InvalidParams: there is none of this name.
    """
    if name not in entries:
        raise InvalidParams(f"{section} has no {name!r}; known: {', '.join(entries)}")
    return entries[name]

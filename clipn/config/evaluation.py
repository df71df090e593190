"""Parameters of the evaluation: overlap, word lists, methods, the feature study, attacks, robustness, the report."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from clipn.config.models import BackboneParams
from clipn.config.types import STRICT, Count, Name, NotNegative, Positive, Seed


@dataclass(frozen=True, config=STRICT)
class OverlapParams:
    """Which images of a benchmark count as duplicates, and what becomes of them."""

    threshold: Annotated[float, Field(gt=0, le=1)]
    """Two images are near duplicates if the cosine of their features is at least this."""
    against_training: bool
    """Whether the sets are also compared with the training images."""
    leave_out: Literal["none", "id", "id-and-training"]
    """OOD images that `evaluate` drops: none, duplicates of ID images, or also those of training images."""


@dataclass(frozen=True, config=STRICT)
class EvaluateParams:
    benchmarks: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Which of the benchmarks are run."""
    imported: tuple[Name, ...]
    """Models of `models/imported` that are evaluated beside the trained ones."""
    methods: Annotated[tuple[str, ...], Field(min_length=1)]
    """Those that a benchmark cannot feed, for want of ID images or of a word list, are left out there and named."""
    bootstrap: Annotated[int, Field(ge=100)]
    """Resamples behind the 95 % intervals."""
    templates: str
    """Name of a template set of `clipn.prompts.templates`."""
    logit_scale: Positive | None
    """Scale of the cosine similarities at test; null takes the backbone's own, or the learned one."""
    fpr_convention: Literal["id-interpolated", "id-nearest", "ood-first"]


@dataclass(frozen=True, config=STRICT)
class WordsParams:
    """The word list of which some scores take labels that no ID image has."""

    path: str
    """The list: WordNet as it comes with this package, or a TSV of your own with the columns kind and word."""
    limit: Count | None
    """Take so many nouns and so many adjectives, spread evenly over the list; null takes all."""
    seed: Seed
    """Decides which noun an adjective is joined with."""


@dataclass(frozen=True, config=STRICT)
class StudyParams:
    """The feature study (arXiv 2303.05828): every backbone on every benchmark with every method."""

    backbones: dict[Name, BackboneParams]
    benchmarks: tuple[Name, ...]
    methods: tuple[str, ...]


@dataclass(frozen=True, config=STRICT)
class AttackParams:
    """OOD images that are moved towards ID images in the space of the features, and scored again."""

    benchmarks: tuple[Name, ...]
    methods: tuple[str, ...]
    images: Count
    """OOD images that are moved, spread evenly over the sets of the benchmark."""
    steps: Count
    lr: Positive
    batch_size: Count
    start_noise: NotNegative
    """Standard deviation of the change that the search starts from; pixels are 0..1."""
    smooth_weight: Positive
    """Weight of the squared image gradients of the change, for smooth ones; patchy ones go without."""
    seed: Seed


@dataclass(frozen=True, config=STRICT)
class RobustnessParams:
    """How far scores hold when images are corrupted and classes are named otherwise."""

    benchmarks: tuple[Name, ...]
    methods: tuple[str, ...]
    images: Count
    """Images of each set, spread evenly over it."""
    noise: tuple[Positive, ...]
    """Standard deviations of Gaussian pixel noise, in grey levels of 255."""
    blur: tuple[Positive, ...]
    """Radii of a Gaussian blur, in pixels of the tower's input."""
    jpeg: tuple[Annotated[int, Field(ge=1, le=100)], ...]
    """Qualities at which images are encoded and decoded again."""
    templates: tuple[str, ...]
    """Template sets that are used instead of `evaluate.templates`."""
    synonyms: bool
    """Whether classes are also called by a synonym from WordNet, where there is one."""


@dataclass(frozen=True, config=STRICT)
class ReportParams:
    title: str
    published: bool
    """Whether published tables are shown: beside measured benchmarks, and of ImageNet-1K where it was not measured."""
    curves: Annotated[tuple[str, ...], Field(min_length=1)]
    """Methods that are drawn; tables hold all."""

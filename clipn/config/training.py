"""Parameters of the training of the "No" text encoder."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from clipn.config.types import STRICT, Count, Name, NotNegative, Positive, Seed, Share


@dataclass(frozen=True, config=STRICT)
class CheckParams:
    """The check of AUROC while training runs. Nothing is chosen by it, and no weight depends on it."""

    id: Name
    """The set that stands for in-distribution; needs classes."""
    ood: Name
    every: Annotated[int, Field(ge=0)]
    """Steps between two checks; 0 switches them off."""
    images: Count
    """How many images of each set are taken, spread evenly over it."""
    templates: str
    """Name of a template set of `clipn.prompts.templates`."""


@dataclass(frozen=True, config=STRICT)
class TrainParams:
    """Training of the "No" text encoder on cached features."""

    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    """Pairs of a step, over all processes together."""
    lr: Positive
    beta1: Share
    beta2: Share
    eps: Positive
    weight_decay: NotNegative
    """Not applied to norms, biases and other parameters of fewer than two dimensions."""
    variant: Literal["learnable", "handcrafted"]
    """`learnable`: prompts that are learned. `handcrafted`: paired yes/no templates, one pair drawn a caption."""
    n_prompts: Count
    """Learnable no-prompts."""
    draw_mean: bool
    """Whether a caption may also draw the prompts' mean, which is what testing uses."""
    paired_templates: str
    """Name of a paired set of `clipn.prompts.templates`, for the handcrafted variant."""
    weight_yes: NotNegative
    """Weight of the yes part of the image-text binary-opposite loss."""
    weight_no: NotNegative
    """Weight of its no part."""
    weight_tso: NotNegative
    """Weight of the text semantic-opposite loss."""
    temperature: Literal["fixed", "learned"]
    """Whether the scale of the cosine similarities stays the backbone's own or is trained."""
    precision: Literal["float32", "bfloat16"]
    """Arithmetic inside the "No" text encoder; weights, losses and optimizer are float32 in either."""
    shuffle_rows: Annotated[int, Field(ge=2)]
    """Rows in memory that are shuffled together; they come from randomly drawn parts of all shards."""
    check: CheckParams

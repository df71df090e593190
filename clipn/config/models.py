"""Parameters of backbones and of the features that they make."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from clipn.config.types import STRICT, Count, NotNegative, Positive, Seed, Share


@dataclass(frozen=True, config=STRICT)
class PretrainParams:
    """The small CLIP that stands in for a real one in the miniature world."""

    model: dict[str, Any]
    """An open_clip model configuration: embed_dim, vision_cfg, text_cfg."""
    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    lr: Positive
    weight_decay: NotNegative
    warmup: Share
    """Share of the steps in which the learning rate rises."""
    seed: Seed


@dataclass(frozen=True, config=STRICT)
class BackboneParams:
    """A frozen CLIP: pretrained here, an open_clip name with a tag, or a local open_clip folder; for the feature
    study also a bare image tower of timm."""

    source: Literal["pretrain", "open_clip", "local", "timm"]
    path: str
    """What DVC watches: the local folder, `data/download/manifest.parquet` for one that is pretrained here, or the list
    of pinned weights, `clipn/models/weights.yaml`, for pretrained ones."""
    name: str | None = None
    """Of the architecture, for open_clip and timm."""
    pretrained: str | None = None
    """Tag of the weights; timm takes random ones without it."""
    image_size: Count | None = None
    """Side of the input of a timm tower in pixels; null takes the one that timm says."""
    revision: str | None = None
    """Commit of the hub repository that holds the weights; null takes that of `clipn/models/weights.yaml`."""
    pretrain: PretrainParams | None = None


@dataclass(frozen=True, config=STRICT)
class FeaturesParams:
    batch_size: Count
    max_pixels: Count
    """Larger images are refused before they are decoded."""
    max_dropped: Share
    """The stage fails when a larger share of a set's images cannot be read."""
    views: Annotated[int, Field(ge=0)]
    """Features of so many random crops of each training image are kept besides those of the centre crop."""
    view_scale: tuple[Share, Share]
    """Smallest and largest share of the image's area that a random crop shows."""
    patches: bool
    """Whether evaluation features hold those of patches too, which GL-MCM needs: a hundred times the size."""

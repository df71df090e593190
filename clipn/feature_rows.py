"""What the rows of a feature store hold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clipn.tokens import TokenLists

METADATA_KEY = b"clipn"


@dataclass(frozen=True)
class FeatureMeta:
    """What the numbers of a store are.

    Attributes:
        dim: D, length of a feature vector.
        backbone: fingerprint of the model that made them.
        preprocess: the tower's own description of its preprocessing.
        logit_scale: the backbone's factor on cosine similarities.
        kind: `training` (image, text, tokens, views) or `evaluation` (image, label).
        classes: class names, in the order of the labels; empty without classes.
        views: V, random crops of each image; training features only.
        view_scale: smallest and largest share of the image's area that they show; None without views.
    """

    dim: int
    backbone: str
    preprocess: str
    logit_scale: float
    kind: str
    classes: tuple[str, ...] = ()
    views: int = 0
    view_scale: tuple[float, float] | None = None
    dtype: str = "float16"
    normalised: bool = True

    def __post_init__(self) -> None:
        if self.views and self.kind != "training":
            raise ValueError(f"{self.kind} features have no views")

    def schema(self) -> pa.Schema:
        vector = pa.binary(2 * self.dim)
        fields = [pa.field("key", pa.string(), nullable=False), pa.field("image", vector, nullable=False)]
        if self.kind == "training":
            fields += [
                pa.field("text", vector, nullable=False),
                pa.field("tokens", pa.list_(pa.int32()), nullable=False),
            ]
        else:
            fields.append(pa.field("label", pa.int32()))
        if self.views:
            fields.append(pa.field("views", pa.binary(2 * self.dim * self.views), nullable=False))
        return pa.schema(fields, metadata={METADATA_KEY: json.dumps(asdict(self), sort_keys=True)})


@dataclass(frozen=True)
class FeatureBatch:
    """Rows of a store.

    Attributes:
        keys: N sample keys; an Arrow array where rows are streamed, to spare an object for each.
        image: unit-norm image features [N, D].
        label: class indices [N], -1 without a class; evaluation only.
        text: unit-norm text features [N, D]; training only.
        tokens: N lists of token ids up to the end token; training only.
        views: unit-norm features of V random crops [N, V, D]; training with views only.
    """

    keys: Sequence[str] | pa.StringArray
    image: NDArray[np.floating]
    label: NDArray[np.int32] | None = None
    text: NDArray[np.floating] | None = None
    tokens: TokenLists | None = None
    views: NDArray[np.floating] | None = None

    def __len__(self) -> int:
        return len(self.keys)


def unit_norm(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Stored features [N, D] as float32 of exactly unit norm.

    Rounding to float16 moves the norm by up to 1e-4, which is enough to push a cosine above 1 and
    the square root in CLIPN's text loss below 0.
    """
    values = features.astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)

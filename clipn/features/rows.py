"""What the rows of a feature store hold."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clipn.features.tokens import TokenLists

METADATA_KEY = b"clipn"


@dataclass(frozen=True)
class FeatureMeta:
    """What the numbers of a store are.

    Attributes:
        dim: D, length of a feature vector.
        backbone: fingerprint of the model that made them.
        preprocess: the tower's own description of its preprocessing.
        logit_scale: the backbone's factor on cosine similarities.
        kind: `training` (image, text, tokens, views) or `evaluation` (image, pooled, patches, label).
        classes: class names, in the order of the labels; empty without classes.
        views: V, random crops of each image; training features only.
        view_scale: smallest and largest share of the image's area that they show; None without views.
        pooled: P, length of a feature before the projection; 0 without. Evaluation features only.
        patches: T, patches of each image; 0 without. Evaluation features only.
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
    pooled: int = 0
    patches: int = 0

    def __post_init__(self) -> None:
        absent = ("pooled", "patches") if self.kind == "training" else ("views",)
        for column in absent:
            if getattr(self, column):
                raise ValueError(f"{self.kind} features have no {column}")

    def vector_shape(self, column: str) -> tuple[int, ...]:
        """Shape of one row of a column of vectors."""
        return {"pooled": (self.pooled,), "patches": (self.patches, self.dim), "views": (self.views, self.dim)}.get(
            column, (self.dim,)
        )

    def schema(self) -> pa.Schema:
        def vectors(column: str) -> pa.Field:
            return pa.field(column, pa.binary(2 * math.prod(self.vector_shape(column))), nullable=False)

        fields = [pa.field("key", pa.string(), nullable=False), vectors("image")]
        if self.kind == "training":
            fields += [vectors("text"), pa.field("tokens", pa.list_(pa.int32()), nullable=False)]
        else:
            fields.append(pa.field("label", pa.int32()))
        fields += [vectors(column) for column in ("views", "pooled", "patches") if getattr(self, column)]
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
        pooled: features before the projection, as the tower gives them [N, P]; evaluation only.
        patches: unit-norm features of T patches [N, T, D]; evaluation with patches only.
    """

    keys: Sequence[str] | pa.StringArray
    image: NDArray[np.floating]
    label: NDArray[np.int32] | None = None
    text: NDArray[np.floating] | None = None
    tokens: TokenLists | None = None
    views: NDArray[np.floating] | None = None
    pooled: NDArray[np.floating] | None = None
    patches: NDArray[np.floating] | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def rows(self, chosen: slice | Sequence[int]) -> FeatureBatch:
        """Return some rows of an evaluation set, in the given order; the rows of a slice are not copied."""
        keys = self.keys[chosen] if isinstance(chosen, slice) else [self.keys[i] for i in chosen]

        def some(column: NDArray | None) -> NDArray | None:
            return None if column is None else column[chosen]

        return FeatureBatch(
            keys, self.image[chosen], some(self.label), pooled=some(self.pooled), patches=some(self.patches)
        )

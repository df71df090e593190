"""Features of batches: crops and token ids through the frozen towers. Colours are normalised on their device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clipn.data.manifest import Entry
from clipn.features import select
from clipn.features.crops import Crops, colours, normaliser
from clipn.features.rows import FeatureBatch, FeatureMeta
from clipn.features.tokens import TokenLists
from clipn.models import image_tower
from clipn.models.backbone import Backbone
from clipn.models.image_tower import Encoded

TEXT_BATCH = 1024


@dataclass(frozen=True)
class Inputs:
    """What the tower takes at once.

    Attributes:
        entries: the manifest's rows of N images that could be read.
        crops: their centre crop and then V random views, uint8 [N, 1 + V, H, W, 3].
        tokens: ids of their captions [N, L]; None for evaluation features.
        unreadable: how many images of the batch could not be read.
    """

    entries: Sequence[Entry]
    crops: Tensor
    tokens: Tensor | None
    unreadable: int


def encode(inputs: Inputs, backbone: Backbone, meta: FeatureMeta) -> Callable[[], FeatureBatch]:
    """Give a batch to the towers and return a function that waits for the rows. A GPU computes in the meantime."""
    crops = inputs.crops.shape[1]
    with torch.inference_mode():
        encoded = _tower(backbone, inputs.crops.flatten(0, 1), patches=meta.patches > 0)
        fetch_image = _fetch(F.normalize(encoded.projected, dim=-1))
        fetch_text = None if inputs.tokens is None else _fetch(_text_features(backbone.text, inputs.tokens))
        fetch_pooled = _fetch(encoded.pooled) if encoded.pooled is not None and meta.pooled else None
        fetch_patches = None if encoded.patches is None else _fetch(F.normalize(encoded.patches, dim=-1))

    def rows() -> FeatureBatch:
        keys = [entry.key for entry in inputs.entries]
        images = fetch_image().reshape(len(keys), crops, -1)
        if fetch_text is None or inputs.tokens is None:
            return FeatureBatch(
                keys,
                images[:, 0],
                label=np.array([-1 if entry.label is None else entry.label for entry in inputs.entries], np.int32),
                pooled=fetch_pooled() if fetch_pooled else None,
                patches=fetch_patches() if fetch_patches else None,
            )
        lengths = (backbone.text.ends(inputs.tokens) + 1).tolist()
        tokens = TokenLists.of([row[:length] for row, length in zip(inputs.tokens.numpy(), lengths, strict=True)])
        views = images[:, 1:] if crops > 1 else None
        return FeatureBatch(keys, images[:, 0], text=fetch_text(), tokens=tokens, views=views)

    return rows


def encode_images(backbone: Backbone, crops: Crops, patches: bool = False) -> FeatureBatch:
    """Return evaluation features of crops [N, H, W, 3], in float32; a GPU computes in bfloat16."""
    with torch.inference_mode():
        encoded = _tower(backbone, torch.from_numpy(crops), patches)
        image = F.normalize(encoded.projected, dim=-1).cpu().numpy()
        of_patches = None if encoded.patches is None else F.normalize(encoded.patches, dim=-1).cpu().numpy()
    pooled = None if encoded.pooled is None else encoded.pooled.cpu().numpy()
    return FeatureBatch([str(i) for i in range(len(image))], image, pooled=pooled, patches=of_patches)


def encode_set(
    backbone: Backbone, meta: FeatureMeta, parts: Iterable[Crops], keys: Sequence[str], labels: NDArray[np.int32] | None
) -> FeatureBatch:
    """Return evaluation features of the crops of N images, rounded to float16 as those of a store are.

    Args:
        backbone: the towers.
        meta: which features; that of a store of the same set.
        parts: one batch of the tower after the other.
        keys: of all images.
        labels: their classes [N], -1 without; None if none has one.
    """
    encoded, done = list[FeatureBatch](), 0
    for part in parts:
        rows = slice(done, done + len(part))
        features = encode_images(backbone, part, patches=meta.patches > 0)
        classes = np.full(len(part), -1, np.int32) if labels is None else labels[rows]
        encoded.append(replace(_stored(features), keys=keys[rows], label=classes))
        done += len(part)
    return select.join(encoded)


def encode_texts(encode: Callable[[Tensor], Tensor], tokens: Tensor) -> NDArray[np.float32]:
    """Return features [N, D] of token ids [N, L] by a yes or "No" text encoder, in batches."""
    with torch.inference_mode():
        return _text_features(encode, tokens).cpu().numpy()


def _tower(backbone: Backbone, crops: Tensor, patches: bool = False) -> Encoded:
    """What the image tower gives for crops of 8 bits, in float32."""
    on_gpu = backbone.device.type == "cuda"
    inputs = normaliser(backbone)(colours(crops.to(backbone.device, non_blocking=on_gpu)))
    with torch.autocast("cuda", torch.bfloat16, enabled=on_gpu):
        encoded = image_tower.encode(backbone.model, inputs, patches)
    pooled, of_patches = (None if part is None else part.float() for part in (encoded.pooled, encoded.patches))
    return Encoded(encoded.projected.float(), pooled, of_patches)


def _stored(batch: FeatureBatch) -> FeatureBatch:
    def rounded(values: NDArray[np.floating] | None) -> Any:
        return None if values is None else values.astype(np.float16)

    return FeatureBatch(batch.keys, rounded(batch.image), pooled=rounded(batch.pooled), patches=rounded(batch.patches))


def _text_features(encode: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
    return torch.cat([encode(part).float() for part in tokens.split(TEXT_BATCH)])


def _fetch(features: Tensor) -> Callable[[], NDArray[np.float32]]:
    """Start the way of features to the CPU; the function returned waits for their arrival, not for later work."""
    if features.device.type != "cuda":
        return features.cpu().numpy
    host = features.to("cpu", non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()

    def fetch() -> NDArray[np.float32]:
        arrived.synchronize()
        return host.numpy()

    return fetch

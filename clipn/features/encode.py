"""Features of batches: preprocessed images and token ids through the frozen towers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clipn.features.inputs import Inputs
from clipn.features.rows import FeatureBatch, FeatureMeta
from clipn.features.tokens import TokenLists
from clipn.models import image_tower
from clipn.models.backbone import Backbone
from clipn.models.image_tower import Encoded

TEXT_BATCH = 1024


def encode(inputs: Inputs, backbone: Backbone, meta: FeatureMeta) -> Callable[[], FeatureBatch]:
    """Give a batch to the towers and return a function that waits for the rows. A GPU computes in the meantime."""
    crops = inputs.pixels.shape[1]
    with torch.inference_mode():
        encoded = _tower(backbone, inputs.pixels.flatten(0, 1), patches=meta.patches > 0)
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


def encode_images(backbone: Backbone, pixels: Tensor, patches: bool = False) -> FeatureBatch:
    """Return evaluation features of preprocessed images [N, 3, H, W], in float32; a GPU computes in bfloat16."""
    with torch.inference_mode():
        encoded = _tower(backbone, pixels, patches)
        image = F.normalize(encoded.projected, dim=-1).cpu().numpy()
        of_patches = None if encoded.patches is None else F.normalize(encoded.patches, dim=-1).cpu().numpy()
    pooled = None if encoded.pooled is None else encoded.pooled.cpu().numpy()
    return FeatureBatch([str(i) for i in range(len(image))], image, pooled=pooled, patches=of_patches)


def encode_texts(encode: Callable[[Tensor], Tensor], tokens: Tensor) -> NDArray[np.float32]:
    """Return features [N, D] of token ids [N, L] by a yes or "No" text encoder, in batches."""
    with torch.inference_mode():
        return _text_features(encode, tokens).cpu().numpy()


def _tower(backbone: Backbone, pixels: Tensor, patches: bool = False) -> Encoded:
    """What the image tower gives, in float32."""
    on_gpu = backbone.device.type == "cuda"
    inputs = pixels.to(backbone.device, non_blocking=on_gpu).to(memory_format=torch.channels_last)
    with torch.autocast("cuda", torch.bfloat16, enabled=on_gpu):
        encoded = image_tower.encode(backbone.model, inputs, patches)
    pooled, of_patches = (None if part is None else part.float() for part in (encoded.pooled, encoded.patches))
    return Encoded(encoded.projected.float(), pooled, of_patches)


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

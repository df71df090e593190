"""Downloaded images and captions in memory, as the pretraining of a small CLIP takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from clipn.data import images, manifest, verified
from clipn.errors import InvalidParams


def load(download: str | Path, model_cfg: dict[str, Any], max_pixels: int) -> tuple[NDArray[np.uint8], Tensor]:
    """Decode all good images of a download and tokenize their captions.

    Args:
        download: folder of the manifest and its `shards`.
        model_cfg: open_clip model configuration; gives image size and context length.
        max_pixels: larger images are refused.

    Returns:
        images [N, S, S, 3], centre-cropped to the model's size S, and token ids [N, L], in the
        manifest's order.

    Raises:
        InvalidParams: the configuration names neither image size nor context length.
        MissingInput: the manifest or a tar is not there.
        InvalidData: the manifest and the tars do not agree, or an image cannot be read.
    """
    try:
        size = int(model_cfg["vision_cfg"]["image_size"])
        context_length = int(model_cfg["text_cfg"]["context_length"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidParams(
            "backbone.pretrain.model needs vision_cfg.image_size and text_cfg.context_length"
        ) from error
    pixels, captions = [], []
    for shard, entries in manifest.by_shard(manifest.read(Path(download) / "manifest.parquet")).items():
        crops = {}
        for entry, data in verified.read(Path(download) / "shards" / shard, entries):
            image = images.decode(data, max_pixels)
            crops[entry.key] = np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC))
        pixels += [crops[entry.key] for entry in entries]
        captions += [entry.caption or "" for entry in entries]
    tokens = open_clip.SimpleTokenizer(context_length=context_length)(captions)
    return np.stack(pixels), tokens

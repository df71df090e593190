"""Pretraining of the small CLIP that stands in for a real one in the miniature world."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor, nn

from clipn.config import PretrainParams
from clipn.data import images, manifest, verified
from clipn.errors import InvalidParams, NonFinite
from clipn.models.text_encoder import TextEncoder
from clipn.optim import adamw, cosine_lr, set_lr
from clipn.utils.progress import Progress, silent

BETAS = (0.9, 0.98)
EPS = 1e-6
MAX_LOGIT_SCALE = 100.0

PREPROCESS = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "mode": "RGB",
}


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


def pretrain(
    images: NDArray[np.uint8], tokens: Tensor, params: PretrainParams, progress: Progress = silent
) -> tuple[nn.Module, list[float]]:
    """Train a CLIP from scratch on image-caption pairs held in memory.

    Args:
        images: [N, H, W, 3], of the size that `params.model` takes.
        tokens: token ids of the captions [N, L].
        params: architecture and schedule.
        progress: called with the steps done and the number of all steps.

    Returns:
        the model in evaluation mode, and the loss of each step.

    Raises:
        InvalidParams: fewer pairs than one batch, or an architecture that open_clip does not take.
        NonFinite: the loss became NaN or infinite.
    """
    if len(images) < params.batch_size:
        raise InvalidParams(
            f"backbone.pretrain.batch_size is {params.batch_size}, but there are only {len(images)} good images; "
            "lower it or take more images"
        )
    torch.manual_seed(params.seed)
    model = build(params.model)
    text = TextEncoder(model)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    optimizer = adamw(model, lr=params.lr, betas=BETAS, eps=EPS, weight_decay=params.weight_decay)
    per_epoch = len(images) // params.batch_size
    steps = params.epochs * per_epoch
    generator = torch.Generator().manual_seed(params.seed)
    targets = torch.arange(params.batch_size)
    losses: list[float] = []
    for step in range(steps):
        if step % per_epoch == 0:
            order = torch.randperm(len(images), generator=generator)
        batch = order[(step % per_epoch) * params.batch_size :][: params.batch_size]
        set_lr(optimizer, cosine_lr(step, steps, params.lr, warmup=round(params.warmup * steps)))
        # Channels last is what makes convolutions fast on CPUs.
        inputs = (pixels[batch].float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        logits = model.logit_scale.exp() * F.normalize(model.visual(inputs), dim=-1) @ text(tokens[batch]).T
        loss = (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2
        if not torch.isfinite(loss):
            raise NonFinite(f"the pretraining loss is {loss.item()} at step {step}; lower backbone.pretrain.lr")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(MAX_LOGIT_SCALE))
        losses.append(loss.item())
        progress(step + 1, steps)
    return model.eval(), losses


def build(model_cfg: dict[str, Any]) -> Any:
    """Build an untrained open_clip model of this configuration.

    Raises:
        InvalidParams: open_clip does not take the configuration.
    """
    try:
        model = open_clip.model.CLIP(**model_cfg)
    except (TypeError, ValueError, AssertionError) as error:
        raise InvalidParams(f"backbone.pretrain.model is no open_clip configuration: {error}") from error
    model.visual.to(memory_format=torch.channels_last)
    return model


def preprocess_cfg(model_cfg: dict[str, Any]) -> dict[str, Any]:
    """Return the preprocessing that goes with `pretrain`: pixels to -1 … 1 at the model's image size."""
    return {**PREPROCESS, "size": model_cfg["vision_cfg"]["image_size"]}

"""The image tower from the inside: one pass gives the features before and after the projection, and those of patches.

The projection into the space that images share with texts throws away what texts do not speak of;
the CLIP feature study (arXiv 2303.05828) therefore takes the features before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn


@dataclass(frozen=True)
class Encoded:
    """Features of N images by one pass through a tower.

    Attributes:
        projected: features in the space of the texts, without normalisation [N, D].
        pooled: features before the projection, without normalisation [N, P]; None where the tower has no such point.
        patches: features of T patches in the space of the texts, likewise [N, T, D]; None unless requested.
    """

    projected: Tensor
    pooled: Tensor | None
    patches: Tensor | None = None


def encode(model: nn.Module, pixels: Tensor, patches: bool = False) -> Encoded:
    """Run the image tower of an open_clip model once.

    Args:
        model: the open_clip model.
        pixels: preprocessed images [N, 3, H, W].
        patches: whether to give patch features too, where the tower has them.

    What is before the projection: the pooled token of a `VisionTransformer`; the mean over places of the last
    feature map of a `ModifiedResNet`, whose attention pooling holds the projection, and of a `TimmModel` whose head
    pools by attention; else what the trunk of a `TimmModel` gives, without its classifier if that is the projection.
    Other towers have no such point that open_clip names.

    Patch features are those of GL-MCM (arXiv 2304.04521): the values of the last attention without the mixing
    between places, through what comes after it. In a convolutional trunk that is pooled by its mean, they are the
    projected places of the feature map.
    """
    visual: Any = model.visual
    by_type: dict[type, Callable[[Any, Tensor, bool], Encoded]] = {
        VisionTransformer: _vision_transformer,
        ModifiedResNet: _modified_resnet,
        TimmModel: _timm,
    }
    function = by_type.get(type(visual))
    return Encoded(model.encode_image(pixels), None) if function is None else function(visual, pixels, patches)  # type: ignore[operator]


@torch.inference_mode()
def sizes(model: nn.Module, pixels: Tensor) -> tuple[int, int, int]:
    """Return D, P and T of a tower, from a pass over `pixels`; P or T are 0 where it has no such features."""
    encoded = encode(model, pixels, patches=True)
    return (
        encoded.projected.shape[1],
        0 if encoded.pooled is None else encoded.pooled.shape[1],
        0 if encoded.patches is None else encoded.patches.shape[1],
    )


def _vision_transformer(visual: VisionTransformer, pixels: Tensor, patches: bool) -> Encoded:
    x = visual._embeds(pixels)
    last = visual.transformer.resblocks[-1]
    local = patches and type(last) is ResidualAttentionBlock and visual.attn_pool is None
    kept: list[Tensor] = []
    # The hook keeps what enters the last block, so that its attention is run once and its values again.
    hook = last.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0])) if local else None
    try:
        x = visual.transformer(x)
    finally:
        if hook is not None:
            hook.remove()
    pooled, _ = visual._pool(x)
    projected = pooled if visual.proj is None else pooled @ visual.proj
    if not local:
        return Encoded(projected, pooled)
    tokens = visual.ln_post(_value_path(last, kept[0]))[:, 1:]
    return Encoded(projected, pooled, tokens if visual.proj is None else tokens @ visual.proj)


def _value_path(block: ResidualAttentionBlock, x: Tensor) -> Tensor:
    """Run a residual block in which every place attends to itself alone."""
    attention = block.attn
    width = attention.embed_dim
    normed = block.ln_1(x)
    bias = attention.in_proj_bias
    value = F.linear(normed, attention.in_proj_weight[2 * width :], None if bias is None else bias[2 * width :])
    x = x + block.ls_1(attention.out_proj(value))
    return x + block.ls_2(block.mlp(block.ln_2(x)))


def _modified_resnet(visual: ModifiedResNet, pixels: Tensor, patches: bool) -> Encoded:
    x = visual.stem(pixels)
    for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        x = layer(x)
    pool = visual.attnpool
    tokens = pool.c_proj(pool.v_proj(x.flatten(2).transpose(1, 2))) if patches else None
    return Encoded(pool(x), x.mean(dim=(2, 3)), tokens)


def _timm(visual: TimmModel, pixels: Tensor, patches: bool) -> Encoded:
    trunk, layers = visual.trunk, set(visual.head._modules)
    if "pool" in layers:  # the trunk gives a map, which the head pools
        places = trunk(pixels)
        return Encoded(visual.head(places), places.mean(dim=(2, 3)))
    places = trunk.forward_features(pixels)
    if trunk.num_classes:  # the head is empty, and the trunk's classifier is the projection
        return Encoded(trunk.forward_head(places), trunk.forward_head(places, pre_logits=True))
    pooled = trunk.forward_head(places)
    # Only where pooling is a plain mean and the head is linear are projected places the parts of the whole.
    local = patches and layers <= {"drop", "proj"} and _pools_by_mean(trunk, places)
    tokens = visual.head(places.flatten(2).transpose(1, 2)) if local else None
    return Encoded(visual.head(pooled), pooled, tokens)


def _pools_by_mean(trunk: nn.Module, places: Tensor) -> bool:
    """Return whether the trunk's pooling is the mean over places. Only the shape of `places` matters."""
    if places.ndim != 4:
        return False
    ramp = torch.linspace(-1, 1, places[:1].numel(), device=places.device).view_as(places[:1])
    with torch.autocast(places.device.type, enabled=False):
        pooled: Tensor = trunk.forward_head(ramp)  # type: ignore[operator]
    mean = ramp.mean(dim=(2, 3))
    return pooled.shape == mean.shape and torch.allclose(pooled, mean, atol=1e-4)

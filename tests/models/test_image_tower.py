"""One pass through an image tower against open_clip's own and against other ways to the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import open_clip
import pytest
import torch
from torch import Tensor, nn

from clipn.models import image_tower

TEXT = {"context_length": 8, "vocab_size": 100, "width": 8, "heads": 1, "layers": 1}
VIT = {"layers": 3, "width": 32, "head_width": 8, "patch_size": 8, "image_size": 32}
RESNET = {"layers": [1, 1, 1, 1], "width": 8, "head_width": 8, "image_size": 64}

VITS: dict[str, dict[str, Any]] = {
    "token": {},
    "layer scale": {"ls_init_value": 0.5},
    "average": {"pool_type": "avg"},
    "average before the norm": {"pool_type": "avg", "final_ln_after_pool": True},
    "attention": {"attentional_pool": True, "attn_pooler_queries": 4, "attn_pooler_heads": 4},
    "custom block": {"qk_norm": True},
}
TIMM: dict[str, dict[str, Any]] = {
    "conv": {"timm_model_name": "test_resnet", "timm_pool": "avg", "timm_proj": "linear"},
    "conv, bias": {"timm_model_name": "test_resnet", "timm_pool": "", "timm_proj": "linear", "timm_proj_bias": True},
    "conv, mlp": {"timm_model_name": "test_resnet", "timm_pool": "avg", "timm_proj": "mlp"},
    "conv, norm after pool": {"timm_model_name": "test_convnext", "timm_pool": "avg", "timm_proj": "linear"},
    "conv, attention": {"timm_model_name": "test_efficientnet", "timm_pool": "abs_attn", "timm_proj": "linear"},
    "conv, classifier": {"timm_model_name": "test_resnet", "timm_pool": "avg", "timm_proj": None},
    "conv, bare": {"timm_model_name": "test_resnet", "timm_pool": "avg", "timm_proj": "none"},
    "ViT, map": {"timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none"},
    "ViT, classifier": {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": None},
}


def model(vision: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    made = open_clip.model.CLIP(embed_dim=12, vision_cfg=vision, text_cfg=TEXT).eval().requires_grad_(False)
    for module in made.visual.modules():
        if isinstance(module, nn.MultiheadAttention):
            # They start at 0, where forgetting them would not show.
            nn.init.normal_(module.in_proj_bias)
            nn.init.normal_(module.out_proj.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)  # in a ResNet some start at 0, which switches their branch off
    return made


def vit(kind: str) -> Any:
    return model({**VIT, **VITS[kind]})


def timm(kind: str) -> Any:
    return model({**TIMM[kind], "image_size": 160})


def images(side: int, count: int = 3) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def close(a: Tensor | None, b: Tensor) -> None:
    assert a is not None
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("patches", [False, True])
@pytest.mark.parametrize("kind", VITS)
def test_a_vision_transformer_before_and_after_its_projection(kind: str, patches: bool) -> None:
    clip = vit(kind)
    found = image_tower.encode(clip, images(32), patches)
    close(found.projected, clip.encode_image(images(32)))
    assert found.pooled is not None
    close(found.pooled @ clip.visual.proj, found.projected)
    assert found.pooled.shape == (3, 12 if kind == "attention" else 32)
    assert (found.patches is not None) == (patches and kind not in ("attention", "custom block"))


@pytest.mark.parametrize("kind", ["token", "layer scale", "average", "average before the norm"])
def test_patches_are_the_last_block_with_every_place_attending_to_itself(kind: str) -> None:
    clip = vit(kind)
    visual = clip.visual
    x = visual._embeds(images(32))
    *blocks, last = visual.transformer.resblocks
    for block in blocks:
        x = block(x)
    alone = torch.full((17, 17), -torch.inf).fill_diagonal_(0)
    expected = visual.ln_post(last(x, attn_mask=alone))[:, 1:] @ visual.proj
    found = image_tower.encode(clip, images(32), patches=True)
    assert found.patches is not None
    assert found.patches.shape == (3, 16, 12)
    close(found.patches, expected)
    assert not last._forward_pre_hooks


def test_a_vision_transformer_without_a_projection() -> None:
    clip = vit("token")
    clip.visual.proj = None
    found = image_tower.encode(clip, images(32), patches=True)
    close(found.projected, clip.encode_image(images(32)))
    close(found.pooled, found.projected)
    assert found.patches is not None
    assert found.patches.shape == (3, 16, 32)


@pytest.mark.parametrize("patches", [False, True])
def test_a_resnet_before_and_after_its_attention_pooling(patches: bool) -> None:
    clip = model(RESNET)
    found = image_tower.encode(clip, images(64), patches)
    close(found.projected, clip.encode_image(images(64)))
    places = clip.visual.forward_intermediates(images(64), indices=1)["image_intermediates"][-1]
    assert places.shape == (3, 256, 2, 2)
    close(found.pooled, places.flatten(2).mean(dim=2))
    if not patches:
        assert found.patches is None
        return
    pool = clip.visual.attnpool
    values = torch.einsum("nchw,dc->nhwd", places, pool.v_proj.weight) + pool.v_proj.bias
    expected = torch.einsum("nhwd,ed->nhwe", values, pool.c_proj.weight) + pool.c_proj.bias
    assert found.patches is not None
    close(found.patches, expected.reshape(3, 4, 12))
    close(found.patches[:, 1], expected[:, 0, 1])  # row by row


@pytest.mark.parametrize("patches", [False, True])
@pytest.mark.parametrize("kind", TIMM)
def test_a_tower_of_timm_before_and_after_its_projection(kind: str, patches: bool) -> None:
    clip = timm(kind)
    trunk, head = clip.visual.trunk, clip.visual.head
    found = image_tower.encode(clip, images(160), patches)
    close(found.projected, clip.encode_image(images(160)))
    if kind == "conv, attention":
        close(found.pooled, trunk.forward_features(images(160)).mean(dim=(2, 3)))
    elif "classifier" in kind:
        assert found.pooled is not None
        close(trunk.get_classifier()(found.pooled), found.projected)
    else:
        close(found.pooled, trunk(images(160)))
        close(head(found.pooled), found.projected)
    assert (found.patches is not None) == (patches and kind in ("conv", "conv, bias", "conv, bare"))


@pytest.mark.parametrize("kind", ["conv", "conv, bias", "conv, bare"])
def test_the_mean_of_projected_places_is_the_projected_mean(kind: str) -> None:
    found = image_tower.encode(timm(kind), images(160), patches=True)
    assert found.patches is not None
    assert found.patches.shape[1] == 25
    close(found.patches.mean(dim=1), found.projected)


def test_rounding_does_not_decide_whether_there_are_patches() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        found = [image_tower.encode(timm(kind), images(160), patches=True).patches for kind in ("conv", "conv, mlp")]
    assert found[0] is not None
    assert found[1] is None


class Unknown(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.visual = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5))

    def encode_image(self, pixels: Tensor) -> Tensor:
        return self.visual(pixels)


def test_a_tower_of_an_unknown_kind_gives_only_what_it_gives() -> None:
    clip = Unknown()
    found = image_tower.encode(clip, images(8), patches=True)
    close(found.projected, clip.encode_image(images(8)))
    assert found.pooled is None
    assert found.patches is None


@pytest.mark.parametrize(
    ("make", "side", "expected"),
    [
        (lambda: vit("token"), 32, (12, 32, 16)),
        (lambda: vit("attention"), 32, (12, 12, 0)),
        (lambda: model(RESNET), 64, (12, 256, 4)),
        (lambda: timm("conv, classifier"), 160, (12, 96, 0)),
        (Unknown, 8, (5, 0, 0)),
    ],
)
def test_sizes(make: Callable[[], nn.Module], side: int, expected: tuple[int, int, int]) -> None:
    assert image_tower.sizes(make(), images(side, count=1)) == expected

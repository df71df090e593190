"""Both ways of attention within packed texts, against open_clip's own pass over padded texts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import open_clip
import pytest
import torch
import torch.nn.functional as F

from clipn.models import attention
from clipn.models.packing import BLOCK
from clipn.models.text_encoder import TextEncoder

START, END = 49406, 49407
CONTEXT = 77


@pytest.fixture(params=["gelu", "quick gelu"])
def clip(request: pytest.FixtureRequest) -> torch.nn.Module:
    """CLIP with a text tower of two heads and the real context length."""
    torch.manual_seed(0)
    return open_clip.model.CLIP(
        embed_dim=16,
        vision_cfg={"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 16},
        text_cfg={"context_length": CONTEXT, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3},
        quick_gelu=request.param == "quick gelu",
    )


@pytest.fixture
def tokens() -> torch.Tensor:
    """Texts of nearly all lengths; together several blocks, with texts across their bounds."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.zeros(30, CONTEXT, dtype=torch.long)
    for row, length in zip(rows, torch.randint(2, CONTEXT + 1, (30,), generator=generator).tolist(), strict=True):
        row[:length] = torch.randint(1, 49000, (length,), generator=generator)
        row[0], row[length - 1] = START, END
    rows[4] = rows[3]
    return rows


def features_and_gradients(features: torch.Tensor, model: torch.nn.Module) -> tuple[torch.Tensor, list[torch.Tensor]]:
    weights = torch.linspace(-1, 1, features.numel()).view_as(features)
    parameters = [p for name, p in model.named_parameters() if not name.startswith(("visual", "logit_scale"))]
    gradients = torch.autograd.grad((features.float() * weights).sum(), parameters)
    return features.detach(), list(gradients)


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_features_and_gradients_are_those_of_padded_texts(
    clip: torch.nn.Module, tokens: torch.Tensor, blocks: bool, precision: torch.dtype
) -> None:
    encoder = TextEncoder(clip)
    expected, gradients = features_and_gradients(clip.encode_text(tokens, normalize=True), clip)  # type: ignore[operator]
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        features = encoder(encoder.pack(tokens, blocks))
    features, ours = features_and_gradients(features, clip)
    features_bound, bound = (1e-5, 1e-4) if precision == torch.float32 else (1e-2, 5e-2)
    assert (features - expected).norm() < features_bound * expected.norm()
    for mine, theirs in zip(ours, gradients, strict=True):
        assert (mine - theirs).norm() <= bound * theirs.norm()


@pytest.fixture
def flex(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[torch.Size]]:
    """Run FlexAttention's own program of a block on the CPU, traced as on a GPU; lists the queries of its calls."""
    calls: list[torch.Size] = []

    def run(graph: torch.fx.GraphModule, example: list[torch.Tensor]) -> torch.fx.GraphModule:
        calls.append(example[1].shape)
        return graph

    torch._dynamo.reset()
    monkeypatch.setattr(
        attention, "_with_mask", torch.compile(attention._with_blocks, backend=run, dynamic=False, fullgraph=True)
    )
    yield calls
    torch._dynamo.reset()


def test_flex_attention_gives_the_same_and_all_blocks_share_one_program(
    clip: torch.nn.Module, tokens: torch.Tensor, flex: list[torch.Size]
) -> None:
    encoder = TextEncoder(clip)
    with torch.no_grad():
        torch.testing.assert_close(encoder(encoder.pack(tokens, blocks=True)), encoder(tokens), rtol=1e-4, atol=1e-5)
        assert len(flex) == 1
        again = tokens.flip(0)  # other texts at other places, the same shape
        torch.testing.assert_close(encoder(encoder.pack(again, blocks=True)), encoder(again), rtol=1e-4, atol=1e-5)
    assert len(flex) == 1


def test_one_call_a_layer_whatever_the_lengths(
    clip: torch.nn.Module, tokens: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, original = [], F.scaled_dot_product_attention

    def counted(*args: torch.Tensor, **options: object) -> torch.Tensor:
        calls.append(args[0].shape)
        return original(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(F, "scaled_dot_product_attention", counted)
    encoder = TextEncoder(clip)
    packed = encoder.pack(tokens, blocks=True)
    encoder(packed)
    assert calls == [(1, 2, len(packed.ids), 16)] * 3
    calls.clear()
    encoder(encoder.pack(tokens))
    assert len(calls) == 3 * len(packed.groups)


def test_the_dense_mask_needs_both_sides_of_the_blocks(clip: torch.nn.Module, tokens: torch.Tensor) -> None:
    blocks = TextEncoder(clip).pack(tokens, blocks=True).blocks
    assert blocks is not None
    text = blocks.text
    token = torch.arange(len(text))
    assert torch.equal(attention.dense(blocks), (token[:, None] >= token) & (text[:, None] == text))
    blocks.q_count[0, 0, 1] -= 1
    assert not torch.equal(attention.dense(blocks), (token[:, None] >= token) & (text[:, None] == text))
    assert len(text) > 4 * BLOCK


def test_heads_too_narrow_for_its_kernels_are_left_to_calls_by_length(tiny_clip: torch.nn.Module) -> None:
    narrow = open_clip.model.CLIP(
        embed_dim=4,
        vision_cfg={"layers": 1, "width": 8, "head_width": 8, "patch_size": 8, "image_size": 8},
        text_cfg={"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    )
    assert not TextEncoder(narrow).takes_blocks
    assert TextEncoder(tiny_clip).takes_blocks


def test_blocks_that_are_not_clips_own_run_by_length(tokens: torch.Tensor) -> None:
    torch.manual_seed(0)
    custom = partial(open_clip.transformer.CustomResidualAttentionBlock, 32, 2)
    model = open_clip.model.CLIP(
        embed_dim=16,
        vision_cfg={"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 16},
        text_cfg={"context_length": CONTEXT, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    )
    model.transformer.resblocks = torch.nn.ModuleList([custom(), custom()])
    encoder = TextEncoder(model)
    assert not encoder.takes_blocks
    with torch.no_grad():
        torch.testing.assert_close(encoder(tokens), model.encode_text(tokens, normalize=True), rtol=1e-4, atol=1e-5)

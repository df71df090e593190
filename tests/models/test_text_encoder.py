"""The text encoder: how texts are packed, where they end, and that nothing after the end counts."""

from __future__ import annotations

import open_clip
import pytest
import torch
import torch.nn.functional as F

from clipn.models.text_encoder import TextEncoder

START, END = 49406, 49407


def tokens_of(*texts: tuple[int, ...], pad: int = 0) -> torch.Tensor:
    rows = [[START, *text, END] for text in texts]
    return torch.tensor([row + [pad] * (8 - len(row)) for row in rows])


def test_texts_end_at_the_highest_token(tiny_clip: torch.nn.Module) -> None:
    assert TextEncoder(tiny_clip).ends(tokens_of((5, 6), (), (1, 2, 3))).tolist() == [3, 1, 4]


def test_texts_end_at_the_first_end_token_where_the_model_names_it() -> None:
    model = open_clip.model.CustomTextCLIP(
        embed_dim=4,
        vision_cfg={"layers": 1, "width": 8, "head_width": 8, "patch_size": 8, "image_size": 8},
        text_cfg={"context_length": 8, "vocab_size": 20, "width": 8, "heads": 1, "layers": 1, "pool_type": "eos",
                  "eos_id": 2},
    )  # fmt: skip
    assert TextEncoder(model).ends(torch.tensor([[1, 19, 2, 0], [1, 2, 2, 19]])).tolist() == [2, 1]


def test_rows_keep_their_order_and_have_unit_norm(tiny_clip: torch.nn.Module) -> None:
    encoder = TextEncoder(tiny_clip.eval())
    tokens = tokens_of((5, 6, 7), (8,), (9, 10))
    with torch.no_grad():
        together = encoder(tokens)
        for row, text in enumerate(tokens):
            torch.testing.assert_close(together[row], encoder(text[None])[0])
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))


def test_what_follows_the_end_token_does_not_count(tiny_clip: torch.nn.Module) -> None:
    encoder = TextEncoder(tiny_clip.eval())
    with torch.no_grad():
        assert torch.equal(encoder(tokens_of((5, 6))), encoder(tokens_of((5, 6), pad=77)))


def test_one_token_by_hand(tiny_clip: torch.nn.Module) -> None:
    """Without blocks a text is the norm and projection of its end token; a prompt is added to it at its position."""
    encoder = TextEncoder(tiny_clip.eval())
    encoder.transformer.resblocks = torch.nn.ModuleList()
    prompts = torch.zeros(2, encoder.context_length, encoder.width)
    tokens = tokens_of((5,), (6,))
    with torch.no_grad():
        bare = tiny_clip.token_embedding.weight[END] + tiny_clip.positional_embedding[2]  # type: ignore[index,union-attr]
        expected = [
            F.normalize(tiny_clip.ln_final(x) @ tiny_clip.text_projection, dim=0)
            for x in (bare, bare + 0.5 * torch.eye(32)[3])
        ]  # type: ignore[operator]
        prompts[1, 2] = 0.5 * torch.eye(32)[3]  # at the position of the end token
        torch.testing.assert_close(encoder(tokens), torch.stack([expected[0]] * 2))
        torch.testing.assert_close(encoder(tokens, prompts, torch.tensor([0, 1])), torch.stack(expected))


def test_a_copy_has_parameters_of_its_own(tiny_clip: torch.nn.Module) -> None:
    shared, copied = TextEncoder(tiny_clip), TextEncoder.copy_of(tiny_clip)
    assert shared.token_embedding is tiny_clip.token_embedding
    assert copied.token_embedding is not tiny_clip.token_embedding
    assert (shared.context_length, shared.width) == (24, 32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_precision_is_that_of_the_autocast_around(tiny_clip: torch.nn.Module, dtype: torch.dtype) -> None:
    encoder = TextEncoder(tiny_clip.eval())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        features = encoder(tokens_of((5, 6), (7,)))
    with torch.no_grad():
        torch.testing.assert_close(features.float(), encoder(tokens_of((5, 6), (7,))), rtol=0.05, atol=0.05)

"""The no text encoder: where it starts, what truncation leaves alone, and what is kept on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipn.errors import BackboneMismatch, InvalidData, MissingInput, UnsupportedModel
from clipn.models import no_encoder
from clipn.models.no_encoder import NoEncoderConfig, NoTextEncoder
from clipn.models.text_encoder import TextEncoder

CONTEXT = 24
END = 49407


def tokens_of(lengths: list[int]) -> torch.Tensor:
    tokens = torch.zeros(len(lengths), CONTEXT, dtype=torch.long)
    for row, length in enumerate(lengths):
        tokens[row, 0] = 49406
        tokens[row, 1 : 1 + length] = torch.randint(1, 49000, (length,))
        tokens[row, 1 + length] = END
    return tokens


def test_starts_as_the_yes_encoder(tiny_clip: torch.nn.Module) -> None:
    encoder = NoTextEncoder(tiny_clip.eval(), n_prompts=4)
    tokens = tokens_of([3, 7])
    expected = tiny_clip.encode_text(tokens, normalize=True)
    for index in (None, torch.tensor([0, 4])):
        torch.testing.assert_close(encoder(tokens, index), expected)


def test_parameters_are_its_own(tiny_clip: torch.nn.Module) -> None:
    encoder = NoTextEncoder(tiny_clip)
    ours = {p.data_ptr() for p in encoder.parameters()}
    assert not ours & {p.data_ptr() for p in tiny_clip.parameters()}


def test_prompts_and_their_mean(tiny_clip: torch.nn.Module) -> None:
    encoder = NoTextEncoder(tiny_clip, n_prompts=2)
    torch.nn.init.normal_(encoder.prompts)
    tokens = tokens_of([5, 5, 5])
    with torch.no_grad():
        drawn = encoder(tokens, torch.tensor([0, 1, 2]))
        for row, prompt in enumerate([encoder.prompts[0], encoder.prompts[1], encoder.prompts.mean(0)]):
            alone = encoder.encoder(tokens, prompt[None], torch.zeros(3, dtype=torch.long))
            torch.testing.assert_close(drawn[row], alone[row])
        torch.testing.assert_close(encoder(tokens)[2], drawn[2])


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(0, CONTEXT - 2), min_size=1, max_size=6), seed=st.integers(0, 2**20))
def test_cutting_and_sorting_change_nothing(lengths: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    model = open_clip.model.CLIP(
        embed_dim=8,
        vision_cfg={"layers": 1, "width": 16, "head_width": 8, "patch_size": 8, "image_size": 8},
        text_cfg={"context_length": CONTEXT, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
    ).eval()
    tokens = tokens_of(lengths)
    with torch.no_grad():
        plain = model.encode_text(tokens, normalize=True)  # open_clip's own pass at full context
        torch.testing.assert_close(TextEncoder(model)(tokens), plain, rtol=1e-4, atol=1e-6)


def test_custom_text_layout(tiny_clip: torch.nn.Module) -> None:
    torch.manual_seed(0)
    model = open_clip.model.CustomTextCLIP(
        embed_dim=16,
        vision_cfg={"layers": 1, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 16},
        text_cfg={"context_length": CONTEXT, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    ).eval()
    tokens = tokens_of([4])
    torch.testing.assert_close(NoTextEncoder(model)(tokens), model.encode_text(tokens, normalize=True))


@pytest.mark.parametrize(
    "options",
    [
        {"quick_gelu": True},
        {"text_cfg": {"pool_type": "eos", "eos_id": END}},
        {"text_cfg": {"proj_bias": True}},
        {"text_cfg": {"ls_init_value": 0.1}},
        {"text_cfg": {"qk_norm": True}},  # blocks of another make, which are run as they are
        {"text_cfg": {"scale_attn": True, "scale_fc": True}},
    ],
    ids=str,
)
def test_other_causal_towers(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    text_cfg = {"context_length": CONTEXT, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    model = open_clip.model.CustomTextCLIP(
        embed_dim=16,
        vision_cfg={"layers": 1, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 16},
        quick_gelu=options.get("quick_gelu", False),
        text_cfg={**text_cfg, **options.get("text_cfg", {})},
    ).eval()
    tokens = tokens_of([4, 9, 4, 0])
    plain = model.encode_text(tokens, normalize=True)
    torch.testing.assert_close(NoTextEncoder(model)(tokens), plain, rtol=1e-4, atol=1e-6)


def test_a_text_tower_that_is_not_causal_is_refused() -> None:
    model = open_clip.model.CustomTextCLIP(
        embed_dim=16,
        vision_cfg={"layers": 1, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 16},
        text_cfg={"context_length": 8, "vocab_size": 100, "width": 32, "heads": 2, "layers": 1, "no_causal_mask": True,
                  "pool_type": "last"},
    )  # fmt: skip
    with pytest.raises(UnsupportedModel, match="pool type 'last', causal mask absent"):
        NoTextEncoder(model)


class TestSaved:
    CONFIG = NoEncoderConfig(
        variant="learnable", n_prompts=3, paired_templates=None, learned_scale=False, backbone="abc", seed=7
    )

    @pytest.fixture
    def folder(self, tiny_clip: torch.nn.Module, tmp_path: Path) -> Path:
        encoder = NoTextEncoder(tiny_clip, n_prompts=3)
        torch.nn.init.normal_(encoder.prompts)
        no_encoder.save(encoder, self.CONFIG, tmp_path / "model")
        return tmp_path / "model"

    def test_comes_back_equal(self, tiny_clip: torch.nn.Module, folder: Path) -> None:
        encoder = no_encoder.load(folder, tiny_clip, "abc")
        assert no_encoder.read_config(folder) == self.CONFIG
        assert encoder.prompts.abs().sum() > 0
        assert not encoder.training

    def test_another_backbone_is_refused(self, tiny_clip: torch.nn.Module, folder: Path) -> None:
        with pytest.raises(BackboneMismatch, match="trained with backbone abc, but this is xyz"):
            no_encoder.load(folder, tiny_clip, "xyz")

    def test_a_damaged_file_is_named(self, tiny_clip: torch.nn.Module, folder: Path) -> None:
        weights = folder / "no_encoder.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        with pytest.raises(InvalidData, match=r"no_encoder\.safetensors does not fit"):
            no_encoder.load(folder, tiny_clip, "abc")

    def test_a_missing_folder_says_how_to_get_it(self, tiny_clip: torch.nn.Module, tmp_path: Path) -> None:
        with pytest.raises(MissingInput, match="dvc repro"):
            no_encoder.load(tmp_path / "none", tiny_clip, "abc")

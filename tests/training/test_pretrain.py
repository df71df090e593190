"""The pretraining of a small CLIP learns, repeats itself and refuses what cannot work."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from clipn.config import PretrainParams
from clipn.errors import InvalidParams, NonFinite
from clipn.training.pretrain import preprocess_cfg, pretrain

PARAMS = PretrainParams(
    model={
        "embed_dim": 8,
        "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "head_width": 8, "image_size": 32},
        "text_cfg": {"context_length": 8, "vocab_size": 20, "width": 16, "heads": 2, "layers": 1},
    },
    epochs=6,
    batch_size=8,
    lr=4e-3,
    weight_decay=0.1,
    warmup=0.1,
    seed=0,
)


def pairs() -> tuple[np.ndarray, torch.Tensor]:
    """Eight colours with a word each, shown four times."""
    colours = np.random.default_rng(0).integers(0, 256, (8, 3), dtype=np.uint8)
    images = np.tile(np.broadcast_to(colours[:, None, None], (8, 32, 32, 3)), (4, 1, 1, 1))
    tokens = torch.zeros(8, 8, dtype=torch.long)
    tokens[:, 0], tokens[:, 1], tokens[:, 2] = 1, torch.arange(2, 10), 19
    return images, tokens.repeat(4, 1)


def test_learns_to_match_pairs_and_repeats_itself() -> None:
    model, losses = pretrain(*pairs(), PARAMS)
    assert losses[-1] < 0.7 * losses[0]
    assert not model.training
    assert pretrain(*pairs(), PARAMS)[1] == losses


def test_too_few_images() -> None:
    images, tokens = pairs()
    with pytest.raises(InvalidParams, match=r"batch_size is 8, but there are only 5 good images"):
        pretrain(images[:5], tokens[:5], PARAMS)


def test_an_architecture_that_open_clip_does_not_take() -> None:
    with pytest.raises(InvalidParams, match=r"backbone\.pretrain\.model is no open_clip configuration"):
        pretrain(*pairs(), replace(PARAMS, model={"embed_dim": 8, "sight": {}}))


def test_divergence_stops_with_the_step() -> None:
    with pytest.raises(NonFinite, match=r"pretraining loss is .* at step \d+; lower backbone\.pretrain\.lr"):
        pretrain(*pairs(), replace(PARAMS, lr=1e30, epochs=20))


def test_preprocessing_has_the_models_size() -> None:
    assert preprocess_cfg(PARAMS.model)["size"] == 32

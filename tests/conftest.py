"""What tests share: a two-layer CLIP that is built in milliseconds."""

from __future__ import annotations

import open_clip
import pytest
import torch

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"layers": 1, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 16},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


@pytest.fixture
def tiny_clip() -> torch.nn.Module:
    """A small random CLIP with the standard vocabulary."""
    torch.manual_seed(0)
    return open_clip.model.CLIP(**TINY)

"""Class features and what scores are given of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from clipn import backbone
from clipn.backbone import Backbone
from clipn.class_text import class_evidence, class_features
from clipn.no_encoder import NoTextEncoder
from clipn.pretrain import preprocess_cfg

from .conftest import TINY


@pytest.fixture
def clip(tiny_clip: torch.nn.Module, tmp_path: Path) -> Backbone:
    backbone.save(tiny_clip, TINY, preprocess_cfg(TINY), tmp_path / "clip")
    return backbone.load(tmp_path / "clip")


def test_class_features_are_the_renormalised_mean_over_templates(clip: Backbone) -> None:
    found = class_features(clip.text, clip.tokenize, ["sun", "moon"], ["a {}", "the {}"], clip.device)
    texts = clip.text(clip.tokenize(["a moon", "the moon"])).numpy().mean(axis=0)
    np.testing.assert_allclose(found[1], texts / np.linalg.norm(texts), atol=1e-6)
    assert found.shape == (2, 16)


def test_an_untrained_no_encoder_says_what_the_yes_encoder_says(clip: Backbone) -> None:
    evidence = class_evidence(clip, NoTextEncoder(clip.model).eval(), ["sun", "moon"], ["a {}"], None)
    assert evidence.no is not None
    np.testing.assert_allclose(evidence.yes, evidence.no, atol=1e-5)
    assert evidence.logit_scale == pytest.approx(clip.logit_scale)
    fixed = class_evidence(clip, NoTextEncoder(clip.model).eval(), ["sun"], ["a {}"], 100.0)
    assert fixed.logit_scale == 100.0

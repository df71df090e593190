"""Class features and what scores are given of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clipn.errors import InvalidParams
from clipn.models import backbone
from clipn.models.backbone import Backbone
from clipn.models.no_encoder import NoEncoderConfig, NoTextEncoder
from clipn.prompts import templates
from clipn.prompts.class_features import Sentences, class_evidence, class_features, class_tokens, sentences
from clipn.training.pretrain import preprocess_cfg
from tests.conftest import TINY

SAME = Sentences(("a {}", "the {}"), ("a {}", "the {}"))
LEARNABLE = NoEncoderConfig("learnable", 16, None, False, "0", seed=0)
HANDCRAFTED = NoEncoderConfig("handcrafted", 0, "symbols", False, "0", seed=0)


@pytest.fixture
def clip(tiny_clip: torch.nn.Module, tmp_path: Path) -> Backbone:
    backbone.save(tiny_clip, TINY, preprocess_cfg(TINY), tmp_path / "clip")
    return backbone.load(tmp_path / "clip")


def test_learned_prompts_take_the_same_templates_on_both_sides() -> None:
    assert sentences(LEARNABLE, "simple") == Sentences(templates.load("simple"), templates.load("simple"))


def test_a_handcrafted_model_takes_its_own_pairs() -> None:
    pairs = templates.load_paired("symbols")
    for template_set in ("simple", "no such set"):
        found = sentences(HANDCRAFTED, template_set)
        assert list(zip(found.yes, found.no, strict=True)) == [(pair.yes, pair.no) for pair in pairs]


def test_unknown_sets_are_refused() -> None:
    with pytest.raises(InvalidParams, match="unknown template set 'poems'"):
        sentences(LEARNABLE, "poems")
    with pytest.raises(InvalidParams, match="unknown paired template set 'simple'"):
        sentences(replace(HANDCRAFTED, paired_templates="simple"), "symbols")


def test_class_features_are_the_renormalised_mean_over_templates(clip: Backbone) -> None:
    tokens = class_tokens(clip.tokenize, ["sun", "moon"], SAME.yes)
    assert torch.equal(tokens[1], clip.tokenize(["a moon", "the moon"]))
    found = class_features(clip.text, tokens)
    texts = clip.text(tokens[1]).numpy().mean(axis=0)
    np.testing.assert_allclose(found[1], texts / np.linalg.norm(texts), atol=1e-6)
    assert found.shape == (2, 16)


def test_an_untrained_no_encoder_says_what_the_yes_encoder_says(clip: Backbone) -> None:
    evidence = class_evidence(clip, NoTextEncoder(clip.model).eval(), ["sun", "moon"], SAME, None)
    assert evidence.no is not None
    np.testing.assert_allclose(evidence.yes, evidence.no, atol=1e-5)


def test_each_encoder_reads_its_own_sentences(clip: Backbone) -> None:
    no = NoTextEncoder(clip.model, n_prompts=0).eval()
    torch.nn.init.normal_(no.encoder.token_embedding.weight)
    said = Sentences(("a {}", "the {}"), ("no {}",))
    evidence = class_evidence(clip, no, ["sun", "moon"], said, None)
    assert evidence.no is not None
    yes = class_features(clip.text, class_tokens(clip.tokenize, ["sun", "moon"], said.yes))
    np.testing.assert_array_equal(evidence.yes, yes)
    with torch.no_grad():
        alone = no(clip.tokenize(["no sun", "no moon"])).numpy()
    np.testing.assert_allclose(evidence.no, alone, atol=1e-5)


def test_texts_are_tokenized_once_where_both_encoders_read_the_same(clip: Backbone) -> None:
    calls: list[int] = []

    def tokenize(texts: Sequence[str]) -> torch.Tensor:
        calls.append(len(texts))
        return clip.tokenize(texts)

    counted = replace(clip, tokenize=tokenize)
    no = NoTextEncoder(clip.model).eval()
    class_evidence(counted, no, ["sun", "moon", "star"], SAME, None)
    assert calls == [6]
    class_evidence(counted, no, ["sun"], Sentences(("a {}",), ("no {}",)), None)
    assert calls == [6, 1, 1]


def test_a_learned_scale_counts_between_yes_and_no_unless_one_is_given(clip: Backbone) -> None:
    plain, learned = NoTextEncoder(clip.model).eval(), NoTextEncoder(clip.model, learn_scale=True).eval()
    assert learned.log_scale is not None
    torch.nn.init.constant_(learned.log_scale, 4.0)
    cases = ((plain, None), (learned, None), (learned, 100.0))
    found = [class_evidence(clip, no, ["sun"], SAME, given) for no, given in cases]
    assert [evidence.logit_scale for evidence in found] == pytest.approx([clip.logit_scale, clip.logit_scale, 100.0])
    assert [evidence.no_logit_scale for evidence in found] == [None, pytest.approx(np.exp(4.0)), None]

"""AUROC during training: features chosen by hand, for which it is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from clipn.errors import BackboneMismatch, InvalidData
from clipn.features.store import FeatureBatch, FeatureMeta, write_index, write_shard
from clipn.models import backbone
from clipn.models.backbone import Backbone
from clipn.models.no_encoder import NoTextEncoder
from clipn.prompts.class_features import Sentences
from clipn.training.held_out import HeldOut
from clipn.training.pretrain import preprocess_cfg
from tests.conftest import TINY

CLASSES = ("sun", "cloud")
SENTENCES = Sentences(yes=["a {}"], no=["no {}"])


@pytest.fixture
def clip(tiny_clip: torch.nn.Module, tmp_path: Path) -> Backbone:
    backbone.save(tiny_clip, TINY, preprocess_cfg(TINY), tmp_path / "clip")
    return backbone.load(tmp_path / "clip")


@pytest.fixture
def yes(clip: Backbone) -> np.ndarray:
    """Features [2, D] of the sentences that say yes."""
    with torch.inference_mode():
        return clip.text(clip.tokenize(["a sun", "a cloud"])).numpy()


@pytest.fixture
def no(clip: Backbone) -> np.ndarray:
    """Features [2, D] of the sentences that say no, with the encoder as it starts."""
    with torch.inference_mode():
        return clip.text(clip.tokenize(["no sun", "no cloud"])).numpy()


def unit(features: np.ndarray) -> np.ndarray:
    return features / np.linalg.norm(features, axis=-1, keepdims=True)


def test_images_like_yes_against_images_like_no(clip: Backbone, yes: np.ndarray, no: np.ndarray) -> None:
    """An image in the direction of yes - no has its "yes" win, and the other side its "no"."""
    towards = unit(yes - no)
    encoder = NoTextEncoder(clip.model, n_prompts=2)
    assert HeldOut(clip, CLASSES, SENTENCES, towards, -towards).auroc(encoder)[0] == 1.0
    assert HeldOut(clip, CLASSES, SENTENCES, -towards, towards).auroc(encoder)[0] == 0.0
    assert HeldOut(clip, CLASSES, SENTENCES, towards, towards).auroc(encoder) == (0.5, 0.5)


def test_measuring_leaves_the_encoder_in_its_mode(clip: Backbone, yes: np.ndarray) -> None:
    held_out = HeldOut(clip, CLASSES, SENTENCES, yes, yes)
    for training in (True, False):
        encoder = NoTextEncoder(clip.model).train(training)
        held_out.auroc(encoder)
        assert encoder.training is training


def store(folder: Path, image: np.ndarray, made_by: str, classes: tuple[str, ...] = ()) -> Path:
    meta = FeatureMeta(dim=16, backbone=made_by, preprocess="", logit_scale=14.0, kind="evaluation", classes=classes)
    folder.mkdir()
    with write_shard(folder / "0.parquet", meta) as writer:
        rows = len(image)
        writer.append(FeatureBatch([str(i) for i in range(rows)], image, label=np.zeros(rows, np.int32)))
    write_index(folder, [folder / "0.parquet"])
    return folder


def test_few_images_are_taken_from_the_whole_of_a_store(
    clip: Backbone, yes: np.ndarray, no: np.ndarray, tmp_path: Path
) -> None:
    """Of five images the first, the middle and the last count; the two between them would spoil the result."""
    good, bad = unit(yes - no)[:1], unit(no - yes)[:1]
    of_id = store(tmp_path / "id", np.concatenate([good, bad, good, bad, good]), clip.fingerprint, CLASSES)
    of_ood = store(tmp_path / "ood", np.concatenate([bad, good, bad, good, bad]), clip.fingerprint)
    encoder = NoTextEncoder(clip.model)
    assert HeldOut.read(clip, of_id, of_ood, SENTENCES, images=3).auroc(encoder)[0] == 1.0
    assert HeldOut.read(clip, of_id, of_ood, SENTENCES, images=100).auroc(encoder)[0] == pytest.approx(0.6**2 + 0.24)


def test_an_id_set_needs_classes_and_this_backbone(clip: Backbone, yes: np.ndarray, tmp_path: Path) -> None:
    nameless = store(tmp_path / "nameless", yes, clip.fingerprint)
    with pytest.raises(InvalidData, match=r"nameless has no classes, so it cannot be train\.check\.id"):
        HeldOut.read(clip, nameless, nameless, SENTENCES, images=2)
    foreign = store(tmp_path / "foreign", yes, "xyz", CLASSES)
    with pytest.raises(BackboneMismatch):
        HeldOut.read(clip, foreign, nameless, SENTENCES, images=2)

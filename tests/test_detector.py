"""The detector as a user holds it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clipn import Detector
from clipn.errors import BackboneMismatch, InvalidData, InvalidParams, OutOfMemory
from clipn.models import backbone, no_encoder
from clipn.models.no_encoder import NoEncoderConfig, NoTextEncoder
from clipn.prompts.class_features import class_evidence, sentences
from clipn.training.pretrain import preprocess_cfg
from tests.conftest import TINY

CLASSES = ["sun", "cloud", "umbrella"]


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU rounds otherwise; `tests/gpu` compares the two."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def folders(tiny_clip: torch.nn.Module, tmp_path: Path) -> tuple[Path, Path]:
    """A trained model and its backbone."""
    backbone.save(tiny_clip, TINY, preprocess_cfg(TINY), tmp_path / "clip")
    encoder = NoTextEncoder(tiny_clip, n_prompts=2)
    torch.manual_seed(1)
    assert encoder.prompts is not None
    torch.nn.init.normal_(encoder.prompts, std=0.5)
    config = NoEncoderConfig("learnable", 2, None, False, backbone.fingerprint(tmp_path / "clip"), seed=0)
    no_encoder.save(encoder, config, tmp_path / "model")
    return tmp_path / "model", tmp_path / "clip"


@pytest.fixture
def images() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)) for _ in range(20)]


def test_says_class_score_and_verdict(folders: tuple[Path, Path], images: list[Image.Image]) -> None:
    found = Detector.load(*folders, CLASSES, template_set="simple")(images)
    assert len(found) == 20
    assert {detection.label for detection in found} <= set(CLASSES)
    assert all(1 / 3 <= detection.probability <= 1 for detection in found)


def test_calibration_accepts_the_wanted_share(folders: tuple[Path, Path], images: list[Image.Image]) -> None:
    detector = Detector.load(*folders, CLASSES, score="MaxLogit", template_set="simple")
    with pytest.raises(InvalidParams, match="MaxLogit has no decision of its own"):
        detector(images)
    detector.calibrate(images, tpr=0.75)
    assert sum(detection.accepted for detection in detector(images)) in (15, 16)
    threshold = detector.threshold
    assert detector.calibrate(detector.features(images), tpr=0.75) == pytest.approx(threshold, rel=1e-2)
    with pytest.raises(InvalidData, match="at least one"):
        detector.calibrate([])
    with pytest.raises(InvalidParams, match=r"tpr is 95"):
        detector.calibrate(images, tpr=95)


def test_scores_that_learn_from_id_images(folders: tuple[Path, Path], images: list[Image.Image]) -> None:
    encoded = Detector.load(*folders, CLASSES, template_set="simple").features(images)
    id_features = replace(encoded, label=np.arange(20, dtype=np.int32) % 3)
    with pytest.raises(InvalidParams, match="Probe-MSP needs ID images"):
        Detector.load(*folders, CLASSES, score="Probe-MSP", template_set="simple")
    for score in ("1-NN", "Probe-MSP", "GL-MCM"):
        detector = Detector.load(*folders, CLASSES, score=score, template_set="simple", id_features=id_features)
        detector.calibrate(images, tpr=1.0)
        assert all(detection.accepted for detection in detector(images))
    with pytest.raises(InvalidData, match="GL-MCM needs patch features"):
        detector.calibrate(encoded)
    with pytest.raises(InvalidData, match="the ID images have the label 2, but there are 2 classes"):
        Detector.load(*folders, CLASSES[:2], score="Mahalanobis", template_set="simple", id_features=id_features)


def test_no_images_no_detections(folders: tuple[Path, Path]) -> None:
    assert Detector.load(*folders, CLASSES, template_set="simple")([]) == []


def test_a_handcrafted_model_brings_its_sentences_and_its_scale(
    folders: tuple[Path, Path], tiny_clip: torch.nn.Module, images: list[Image.Image], tmp_path: Path
) -> None:
    encoder = NoTextEncoder(tiny_clip, n_prompts=0, learn_scale=True)
    torch.manual_seed(1)
    torch.nn.init.normal_(encoder.encoder.token_embedding.weight)
    assert encoder.log_scale is not None
    torch.nn.init.constant_(encoder.log_scale, 3.0)
    config = NoEncoderConfig("handcrafted", 0, "symbols", True, backbone.fingerprint(folders[1]), seed=0)
    no_encoder.save(encoder, config, tmp_path / "handcrafted")
    detector = Detector.load(tmp_path / "handcrafted", folders[1], CLASSES, template_set="simple")
    assert detector.evidence.no_logit_scale == pytest.approx(np.exp(3.0))
    pairs = sentences(config, "simple")
    expected = class_evidence(detector.backbone, encoder.eval(), CLASSES, pairs, None)
    np.testing.assert_allclose(detector.evidence.no, expected.no, atol=1e-5)
    np.testing.assert_allclose(detector.evidence.yes, expected.yes, atol=1e-5)
    assert len(detector(images)) == 20


def test_model_and_backbone_have_to_belong_together(folders: tuple[Path, Path], tiny_clip: torch.nn.Module) -> None:
    with torch.no_grad():
        tiny_clip.logit_scale += 1
    backbone.save(tiny_clip, TINY, preprocess_cfg(TINY), folders[1])
    with pytest.raises(BackboneMismatch, match="train again"):
        Detector.load(*folders, CLASSES)
    with pytest.raises(InvalidParams, match="the classes are 'sun'; give a list of names"):
        Detector.load(*folders, "sun")
    with pytest.raises(InvalidParams, match="at least one class"):
        Detector.load(*folders, [])
    with pytest.raises(InvalidParams, match="unknown template set 'poems'"):
        Detector.load(*folders, CLASSES, template_set="poems")


def test_the_device_is_chosen_as_for_all_commands(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipn.utils.devices.choose", lambda name=None: name or "meta")
    loaded: list[str] = []

    def load(folder: Path, device: str) -> None:
        loaded.append(device)
        raise InvalidParams("enough")

    monkeypatch.setattr(backbone, "load", load)
    for device in (None, "cpu"):
        with pytest.raises(InvalidParams, match="enough"):
            Detector.load(*folders, CLASSES, device=device)
    assert loaded == ["meta", "cpu"]


def test_the_size_of_a_batch_changes_no_features(folders: tuple[Path, Path], images: list[Image.Image]) -> None:
    one, other = (
        Detector.load(*folders, CLASSES, template_set="simple", batch_size=size).features(images) for size in (3, 64)
    )
    assert one.image.shape == (20, 16)
    np.testing.assert_allclose(one.image, other.image, atol=1e-5)


def test_a_batch_that_needs_too_much_memory_is_named(
    folders: tuple[Path, Path], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = Detector.load(*folders, CLASSES, template_set="simple", batch_size=7)

    def encode(*args: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(detector.backbone.model.visual, "_embeds", encode)
    with pytest.raises(OutOfMemory, match=r"lower the batch size \(clipn detect --batch-size\), which is 7"):
        detector(images)

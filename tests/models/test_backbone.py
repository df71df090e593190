"""Backbones from a folder, from a name, and what is said when there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
from PIL import Image

from clipn.errors import DownloadFailed, InvalidData, InvalidParams, MissingInput
from clipn.models import backbone, image_tower
from clipn.training.pretrain import preprocess_cfg
from tests.conftest import TINY


@pytest.fixture
def folder(tiny_clip: torch.nn.Module, tmp_path: Path) -> Path:
    backbone.save(tiny_clip, TINY, preprocess_cfg(TINY), tmp_path / "clip")
    return tmp_path / "clip"


def test_a_saved_model_loads_and_encodes(tiny_clip: torch.nn.Module, folder: Path) -> None:
    clip = backbone.load(folder)
    tokens = clip.tokenize(["a sun", "a much longer sentence about a cloud"])
    assert tokens.shape == (2, 24)
    expected = tiny_clip.eval().encode_text(tokens, normalize=True)
    torch.testing.assert_close(clip.text(tokens), expected)
    assert clip.preprocess(Image.new("RGB", (40, 30))).shape == (3, 16, 16)
    assert clip.logit_scale == pytest.approx(1 / 0.07, rel=1e-5)
    assert not any(p.requires_grad for p in clip.model.parameters())


def test_the_fingerprint_follows_weights_and_preprocessing(tiny_clip: torch.nn.Module, folder: Path) -> None:
    first = backbone.fingerprint(folder)
    assert first == backbone.fingerprint(folder)
    backbone.save(tiny_clip, TINY, {**preprocess_cfg(TINY), "mean": [0.0, 0.0, 0.0]}, folder)
    second = backbone.fingerprint(folder)
    with torch.no_grad():
        tiny_clip.logit_scale += 1
    backbone.save(tiny_clip, TINY, preprocess_cfg(TINY), folder)
    assert len({first, second, backbone.fingerprint(folder)}) == 3


def test_a_local_folder_is_taken_over(folder: Path, tmp_path: Path) -> None:
    (folder / "notes.md").write_text("not part of the model")
    backbone.from_folder(folder, tmp_path / "copy")
    assert backbone.fingerprint(tmp_path / "copy") == backbone.fingerprint(folder)
    assert not (tmp_path / "copy/notes.md").exists()


def test_what_is_no_open_clip_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"open_clip_config\.json does not exist"):
        backbone.from_folder(tmp_path, tmp_path / "out")
    (folder / "open_clip_config.json").write_text("{}")
    with pytest.raises(InvalidData, match="no 'model_cfg'"):
        backbone.load(folder)


def test_damaged_weights_are_named_and_nothing_is_left(folder: Path, tmp_path: Path) -> None:
    weights = folder / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(InvalidData, match="does not load as an open_clip model"):
        backbone.from_folder(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_of_another_architecture(folder: Path) -> None:
    config: dict[str, Any] = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["width"] = 64
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(InvalidData, match="does not load"):
        backbone.load(folder)


def test_a_bare_tower_of_timm(tmp_path: Path) -> None:
    backbone.from_timm("resnet10t", None, 32, tmp_path / "clip")
    clip = backbone.load(tmp_path / "clip")
    assert not clip.has_text
    pixels = clip.preprocess(Image.new("RGB", (50, 40), (200, 30, 30)))[None]
    assert pixels.shape == (1, 3, 32, 32)
    mean = open_clip.get_model_preprocess_cfg(clip.model)["mean"]
    expected = timm.create_model("resnet10t").default_cfg["mean"]
    assert tuple(mean) == tuple(expected)
    with torch.inference_mode():
        encoded = image_tower.encode(clip.model, pixels)
        trunk = clip.model.visual.trunk.forward_features(pixels).mean(dim=(2, 3))
    assert encoded.pooled is not None
    torch.testing.assert_close(encoded.pooled, trunk)
    torch.testing.assert_close(encoded.projected, trunk)
    backbone.from_timm("resnet10t", None, 32, tmp_path / "again")
    assert backbone.fingerprint(tmp_path / "again") == clip.fingerprint


def test_a_tower_that_timm_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(InvalidParams, match="timm has no model 'resnet7'"):
        backbone.from_timm("resnet7", None, None, tmp_path)
    with pytest.raises(InvalidParams, match=r"timm has no model 'resnet18.none'; tags of 'resnet18': a1_in1k, "):
        backbone.from_timm("resnet18", "none", None, tmp_path)
    with pytest.raises(InvalidParams, match="vit_tiny_patch16_224 takes no images of 50 pixels"):
        backbone.from_timm("vit_tiny_patch16_224", None, 50, tmp_path)


def test_an_unknown_tag_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InvalidParams, match=r"no weights 'none' for 'ViT-B-32'; it has .*laion2b_s34b_b79k"):
        backbone.from_open_clip("ViT-B-32", "none", None, tmp_path / "out")


def test_unreachable_weights_say_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DownloadFailed, match=r"laion/CLIP-ViT-B-32.*revision abc.*backbone\.source: local"):
        backbone.from_open_clip("ViT-B-32", "laion2b_s34b_b79k", "abc", tmp_path / "out")


@pytest.mark.parametrize("device", ["nothing", "cuda:99"])
def test_a_device_that_is_not_there_is_not_the_folder_s_fault(
    tiny_clip: torch.nn.Module, tmp_path: Path, device: str
) -> None:
    backbone.save(tiny_clip, TINY, preprocess_cfg(TINY), tmp_path / "clip")
    with pytest.raises(InvalidParams, match=f"the device {device} cannot be used, name another one, such as cpu"):
        backbone.load(tmp_path / "clip", device)

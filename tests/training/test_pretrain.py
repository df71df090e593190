"""The pretraining of a small CLIP learns, repeats itself and refuses what cannot work."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clipn.config import PretrainParams
from clipn.data import manifest, tars
from clipn.data.manifest import Entry
from clipn.errors import InvalidData, InvalidParams, NonFinite
from clipn.training.pretrain import load, preprocess_cfg, pretrain

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


MODEL = {"vision_cfg": {"image_size": 8}, "text_cfg": {"context_length": 16}}


@pytest.fixture
def download(tmp_path: Path) -> Path:
    """Two images, one of them wide, and one that failed."""
    samples, entries = [], []
    for key, size in (("000", (8, 8)), ("001", (24, 8))):
        buffer = io.BytesIO()
        image = Image.new("RGB", size, (255, 0, 0))
        image.paste((0, 0, 255), (8, 0, 16, 8))  # the middle third of the wide one is blue
        image.save(buffer, "PNG")
        data = buffer.getvalue()
        samples.append((key, {"png": data, "txt": b"x"}))
        sha = hashlib.sha256(data).hexdigest()
        entries.append(Entry(key, f"{key}.png", shard="00000.tar", caption=f"picture {key}", sha256=sha))
    (tmp_path / "shards").mkdir()
    tars.write(tmp_path / "shards/00000.tar", samples)
    manifest.write(tmp_path / "manifest.parquet", [*entries, Entry("002", "x", status="failed_to_download")])
    return tmp_path


def test_images_are_centre_cropped_and_captions_tokenized(download: Path) -> None:
    images, tokens = load(download, MODEL, max_pixels=1000)
    assert images.shape == (2, 8, 8, 3)
    assert images[0, 0, 0].tolist() == [255, 0, 0]
    assert np.median(images[1].reshape(-1, 3), axis=0).tolist() == [0, 0, 255]
    assert tokens.shape == (2, 16)
    assert tokens[0, 0] == 49406


def test_a_tar_that_lacks_an_image(download: Path) -> None:
    tars.write(download / "shards/00000.tar", list(tars.read(download / "shards/00000.tar"))[:1])
    with pytest.raises(InvalidData, match=r"00000\.tar lacks 1 images of the manifest, the first 001"):
        load(download, MODEL, max_pixels=1000)


def test_a_model_without_an_image_size(download: Path) -> None:
    with pytest.raises(InvalidParams, match=r"vision_cfg\.image_size"):
        load(download, {"vision_cfg": {}, "text_cfg": {}}, max_pixels=1000)

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipn.data import manifest, tars
from clipn.data.manifest import Entry
from clipn.errors import InvalidData, InvalidParams
from clipn.training import pretraining_data

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
    images, tokens = pretraining_data.load(download, MODEL, max_pixels=1000)
    assert images.shape == (2, 8, 8, 3)
    assert images[0, 0, 0].tolist() == [255, 0, 0]
    assert np.median(images[1].reshape(-1, 3), axis=0).tolist() == [0, 0, 255]
    assert tokens.shape == (2, 16)
    assert tokens[0, 0] == 49406


def test_a_tar_that_lacks_an_image(download: Path) -> None:
    tars.write(download / "shards/00000.tar", list(tars.read(download / "shards/00000.tar"))[:1])
    with pytest.raises(InvalidData, match=r"00000\.tar lacks 1 images of the manifest, the first 001"):
        pretraining_data.load(download, MODEL, max_pixels=1000)


def test_a_model_without_an_image_size(download: Path) -> None:
    with pytest.raises(InvalidParams, match=r"vision_cfg\.image_size"):
        pretraining_data.load(download, {"vision_cfg": {}, "text_cfg": {}}, max_pixels=1000)

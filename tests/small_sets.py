"""Small sets of pictures with manifest, tar and the features that a given tower makes of them."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image

from clipn.config import FeaturesParams
from clipn.data import manifest, tars
from clipn.features.lookup import Images
from clipn.features.shards import describe, encode_shard, plan
from clipn.features.store import FeatureStore, write_index
from clipn.models import backbone, no_encoder
from clipn.models.backbone import Backbone
from clipn.models.no_encoder import NoEncoderConfig, NoTextEncoder
from clipn.training.pretrain import preprocess_cfg
from tests.conftest import TINY

PARAMS = FeaturesParams(batch_size=8, max_pixels=10_000, max_dropped=0.0, views=0, view_scale=(0.5, 1.0), patches=False)
RESNET = {
    "embed_dim": 16,
    "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "head_width": 8, "image_size": 32},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def tiny(folder: Path, config: dict[str, Any] = TINY) -> Backbone:
    """A small random CLIP, saved and loaded."""
    torch.manual_seed(0)
    backbone.save(open_clip.model.CLIP(**config), config, preprocess_cfg(config), folder)
    return backbone.load(folder)


def picture(seed: int, size: tuple[int, int] = (40, 32)) -> Image.Image:
    """A smooth picture of random colours, as photographs are smooth."""
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def write_set(
    folder: Path,
    clip: Backbone,
    pictures: Sequence[Image.Image],
    classes: Sequence[str] = (),
    store: Path | None = None,
    digits: int = 8,
) -> Images:
    """A set whose keys are its numbers and whose labels go round the classes; features lie in `store`."""
    folder.mkdir(parents=True)
    files = {f"{i:0{digits}d}": _png(image) for i, image in enumerate(pictures)}
    tars.write(folder / "images.tar", ((key, {"png": data}) for key, data in files.items()))
    manifest.write(
        folder / "manifest.parquet",
        [
            manifest.Entry(
                key=key,
                url=f"{key}.png",
                shard="images.tar",
                label=i % len(classes) if classes else None,
                sha256=hashlib.sha256(data).hexdigest(),
            )
            for i, (key, data) in enumerate(files.items())
        ],
    )
    meta = describe(clip, PARAMS, "evaluation", classes)
    (task,) = plan(folder, folder, store or folder / "features")
    encode_shard(task, clip, meta, PARAMS)
    write_index(task.out.parent, [task.out])
    return Images(FeatureStore.open(task.out.parent), folder / "manifest.parquet", folder)


def illustrate(project: Path) -> None:
    """Give the sets of `scored_project` real pictures and features, and a second seed's model to the project."""
    clip = backbone.load(project / "data/backbone")
    for number, name in enumerate(("pictographs", "greek", "digits", "pictographs_fit")):
        folder, store = project / "data/sets" / name, project / "data/features/sets" / name
        shutil.rmtree(folder)
        shutil.rmtree(store)
        write_set(folder, clip, [picture(100 * number + i) for i in range(6)], ("sun", "cloud"), store, digits=1)
    encoder = NoTextEncoder(clip.model, n_prompts=2)
    assert encoder.prompts is not None
    torch.nn.init.normal_(encoder.prompts, std=2.0)
    made = NoEncoderConfig("learnable", 2, None, False, clip.fingerprint, seed=1)
    no_encoder.save(encoder, made, project / "models/clipn/seed-1")


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()

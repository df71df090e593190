"""Seconds to make the same feature shards on this machine alone and on a Ray cluster, and whether they are equal.

    RAY_ADDRESS=127.0.0.1:6379 python -m benchmarks.ray_features [--shards 8] [--images 400]

Images are noise and the tower, a small vision transformer, has random weights. Run it in the project's root,
with a cluster that runs already. Without a Prefect server of its own it starts a temporary one first.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from prefect import flow

from clipn.config import FeaturesParams
from clipn.data import manifest, tars
from clipn.data.manifest import Entry
from clipn.features.shards import describe, plan
from clipn.models import backbone
from clipn.project import profiles
from clipn.project.params import parse_params
from clipn.training.pretrain import preprocess_cfg
from flows.features import shards
from flows.ray import cluster

SIDE = 64
MODEL = {
    "embed_dim": 256,
    "vision_cfg": {"layers": 6, "width": 256, "head_width": 64, "patch_size": 8, "image_size": SIDE},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}


def make_input(count: int, images: int) -> None:
    """A backbone and a set of `count` shards in the current folder."""
    torch.manual_seed(0)
    backbone.save(open_clip.model.CLIP(**MODEL), MODEL, preprocess_cfg(MODEL), "backbone")
    rng = np.random.default_rng(0)
    entries = []
    for shard in range(count):
        samples = [(f"{shard:05d}{image:05d}", {"png": noise(rng)}) for image in range(images)]
        tars.write(Path(f"{shard:05d}.tar"), samples)
        entries += [
            Entry(key, key, shard=f"{shard:05d}.tar", label=0, sha256=hashlib.sha256(sample["png"]).hexdigest(),
                  bytes=len(sample["png"]), width=SIDE, height=SIDE)
            for key, sample in samples
        ]  # fmt: skip
    manifest.write(Path("manifest.parquet"), entries)


def noise(rng: np.random.Generator) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@flow
def encode(name: str, params: FeaturesParams) -> float:
    """Make all shards; gives the seconds."""
    start = time.perf_counter()
    clip = shards.load(Path("backbone"))
    meta = describe(clip, params, "evaluation", ["noise"])
    shards.encode_all(plan(".", ".", f"work-{name}"), clip, meta, params, Path(name), Path("backbone"))
    return time.perf_counter() - start


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--images", type=int, default=400, help="of a shard")
    options = parser.parse_args()
    where = cluster.address()
    if where is None:
        parser.error(f"set {cluster.VARIABLE}")
    params = parse_params(profiles.compose("miniature")).features
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make_input(options.shards, options.images)
        del os.environ[cluster.VARIABLE]
        alone = encode("alone", params)
        os.environ[cluster.VARIABLE] = where
        together = [encode(name, params) for name in ("first", "second")]
        same = all(
            file.read_bytes() == Path("second", file.name).read_bytes() for file in sorted(Path("alone").iterdir())
        )
        os.chdir("/")
    print(f"{options.shards} shards of {options.images} images, {torch.get_num_threads()} threads here")
    print(f"alone {alone:.1f} s, on the cluster {together[0]:.1f} s and again {together[1]:.1f} s; same bytes: {same}")


if __name__ == "__main__":
    main()

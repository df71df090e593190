"""Peak memory of training at the size of CC3M: 2.9 million pairs, 512-d, streamed from synthetic shards.

    python -m benchmarks.training_memory [--pairs 2900000] [--steps 300] [--folder /tmp]

The text tower is a small one, so that some hundred steps take minutes on a CPU: memory of the data does
not depend on it. What ViT-B-16's tower adds is arithmetic: 64 million parameters with gradient and two
moments in float32 are 1.0 GB, and activations lie where training runs.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
import open_clip
import torch

from benchmarks.training_speed import END, START, pair_stream
from clipn.features.store import FeatureBatch, FeatureMeta, FeatureStore, TokenLists, write_index, write_shard
from clipn.models.no_encoder import NoTextEncoder
from clipn.project import profiles
from clipn.project.params import parse_params
from clipn.training import loop
from clipn.training.distributed import Group

PER_SHARD = 10_000
BLOCK = 5_000
GIB = 2**30
TOWER = {
    "embed_dim": 512,
    "vision_cfg": {"layers": 1, "width": 64, "head_width": 64, "patch_size": 32, "image_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2_900_000)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--folder", type=Path, help="where the shards are written for the while; 6.3 GB")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        print(f"writing {options.pairs:,} pairs", flush=True)
        write_pairs(folder, options.pairs)
        size = sum(path.stat().st_size for path in folder.iterdir())
        measure(folder, options.steps, options.batch_size, size)
    finally:
        shutil.rmtree(folder)


def measure(folder: Path, steps: int, batch_size: int, size: int) -> None:
    """Train, and print resident memory at several moments."""
    print(f"{size / GIB:.2f} GiB of shards; before training {resident():.2f} GiB", flush=True)
    params = parse_params(profiles.compose("miniature", [f"train.batch_size={batch_size}"])).train
    torch.manual_seed(0)
    encoder = NoTextEncoder(open_clip.model.CLIP(**TOWER), params.n_prompts)
    stream = pair_stream(FeatureStore.open(folder), params, encoder, torch.device("cpu"))
    running = loop.fit(
        loop.State.start(encoder, params),
        stream.batches(),
        steps=10**6,
        steps_per_epoch=stream.steps_per_epoch,
        params=params,
        logit_scale=100.0,
        group=Group(0, 1, torch.device("cpu")),
    )
    start = time.perf_counter()
    for launched in islice(running, steps):
        step = launched.read()
        if (step.step + 1) % max(1, steps // 6) == 0:
            rate = (step.step + 1) * batch_size / (time.perf_counter() - start)
            print(f"step {step.step + 1}: {resident():.2f} GiB resident, {rate:,.0f} pairs/s", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
    pools = steps * batch_size / params.shuffle_rows
    print(f"peak {peak:.2f} GiB in {steps} steps of {batch_size}, {pools:.1f} pools of {params.shuffle_rows:,} rows")


def resident() -> float:
    """Resident memory of this process in GiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / GIB


def write_pairs(folder: Path, pairs: int) -> None:
    """Shards as `features` writes them, of random numbers; a block is repeated under other keys."""
    rng = np.random.default_rng(0)
    meta = FeatureMeta(dim=512, backbone="random", preprocess="none", logit_scale=100.0, kind="training")
    image, text = (
        values / np.linalg.norm(values, axis=1, keepdims=True)
        for values in rng.normal(size=(2, BLOCK, 512)).astype(np.float32)
    )
    tokens = TokenLists.of(
        [np.array([START, *rng.integers(1, START, size=n), END], np.int32) for n in rng.integers(5, 20, size=BLOCK)]
    )
    paths = []
    for first in range(0, pairs, PER_SHARD):
        path = folder / f"{first // PER_SHARD:05d}.parquet"
        with write_shard(path, meta) as writer:
            for start in range(first, min(first + PER_SHARD, pairs), BLOCK):
                count = min(BLOCK, pairs - start)
                rows = np.arange(count)
                keys = [f"{start + row:09d}" for row in rows]
                writer.append(FeatureBatch(keys, image[:count], text=text[:count], tokens=tokens.take(rows)))
        paths.append(path)
    write_index(folder, paths)


if __name__ == "__main__":
    main()

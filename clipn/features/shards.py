"""From tars of images to shards of features: what is to be done, and how one shard is made, once."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import open_clip
import pyarrow.parquet as pq
from PIL import Image
from torch import Tensor

from clipn.config import FeaturesParams
from clipn.data import manifest, verified
from clipn.data.manifest import Entry
from clipn.errors import InvalidData, InvalidParams
from clipn.features.encode import Inputs, encode
from clipn.features.inputs import Loader
from clipn.features.rows import FeatureBatch, FeatureMeta
from clipn.features.writer import write_shard
from clipn.models import image_tower
from clipn.models.backbone import Backbone
from clipn.utils import devices, threads
from clipn.utils.files import sha256, write_text
from clipn.utils.progress import Phases, Progress, silent


@dataclass(frozen=True)
class ShardTask:
    """One tar to turn into one feature shard.

    Attributes:
        tar: the images.
        entries: the manifest's rows of the images to take, sorted by key.
        out: the Parquet file to write.
    """

    tar: Path
    entries: Sequence[Entry]
    out: Path

    def source(self, meta: FeatureMeta) -> str:
        """Return a digest that changes with an image, a caption, a label, the backbone or the views."""
        digest = hashlib.sha256(repr(meta).encode())
        for entry in self.entries:
            digest.update(repr((entry.key, entry.sha256, entry.caption, entry.label)).encode())
        return digest.hexdigest()


@dataclass
class ShardReport:
    """What became of one shard: rows written, images dropped by reason, seconds per phase."""

    rows: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    reused: bool = False


def plan(folder: str | Path, shards: str | Path, out: str | Path) -> list[ShardTask]:
    """Return the shards that a folder with a manifest makes.

    Args:
        folder: holds `manifest.parquet`.
        shards: holds the tars that the manifest names.
        out: where the feature shards go.

    Raises:
        MissingInput: no manifest.
        InvalidData: the manifest lists no good image.
    """
    path = Path(folder) / "manifest.parquet"
    by_shard = manifest.by_shard(manifest.read(path))
    if not by_shard:
        raise InvalidData(f"{path} lists no good image; there is nothing to make features of")
    return [
        ShardTask(Path(shards) / name, rows, Path(out) / f"{Path(name).stem}.parquet")
        for name, rows in by_shard.items()
    ]


def describe(backbone: Backbone, params: FeaturesParams, kind: str, classes: Sequence[str] = ()) -> FeatureMeta:
    """Return what features of this backbone are.

    Args:
        backbone: the towers.
        params: whether training features have views, and evaluation features patches.
        kind: `training` or `evaluation`.
        classes: names of the classes of an evaluation set.

    Raises:
        InvalidParams: patch features are wanted, but the tower has none.
    """
    preprocess = open_clip.get_model_preprocess_cfg(backbone.model)
    dim, pooled, patches = image_tower.sizes(backbone.model, _one_image(backbone))
    meta = FeatureMeta(
        dim=dim,
        backbone=backbone.fingerprint,
        preprocess=", ".join(f"{key}={preprocess[key]}" for key in sorted(preprocess)),
        logit_scale=backbone.logit_scale,
        kind=kind,
        classes=tuple(classes),
    )
    if kind == "training":
        return replace(meta, views=params.views, view_scale=params.view_scale) if params.views else meta
    if params.patches and not patches:
        raise InvalidParams(
            f"features.patches: the image tower {type(backbone.model.visual).__name__} gives no patch features; "
            "set it to false and leave GL-MCM out"
        )
    return replace(meta, pooled=pooled, patches=patches if params.patches else 0)


def _one_image(backbone: Backbone) -> Tensor:
    """One preprocessed image [1, 3, H, W] that shows what shapes the tower's features have."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    return backbone.preprocess(Image.fromarray(noise))[None].to(backbone.device)


def encode_shard(
    task: ShardTask,
    backbone: Backbone,
    meta: FeatureMeta,
    params: FeaturesParams,
    *,
    workers: int = 1,
    loader: Loader | None = None,
    progress: Progress = silent,
) -> ShardReport:
    """Make one feature shard, unless a whole one of the same source is already there.

    Reading, decoding (by `workers` threads or processes), tower and writing work at the same time on different
    batches. On a CPU the tower has `workers` batches at once, each in one thread, so that the shard's
    bytes do not depend on the number of threads. The seconds of the report are those that each was busy,
    over all its threads, and those that the tower waited. With views, an image is decoded once, and a
    batch of the tower holds `params.batch_size` crops, not images.

    Args:
        task: the tar, its images and the shard.
        backbone: the towers.
        meta: what the features are.
        params: size of a batch, and which images are refused.
        workers: number of threads or processes that decode, and of threads of a tower on a CPU.
        loader: of these features, which the caller keeps for several shards; None for one of this shard alone.
        progress: called with the images done and in all.

    Raises:
        InvalidData: the tar is damaged, lacks images that the manifest lists, holds other images than
            the manifest says, or too large a share of them cannot be read.
        NonFinite: a feature is NaN or infinite.
        OutOfMemory: a batch does not fit into the device's memory.
        WorkerLost: a process that decodes ended by itself.
    """
    mark = task.out.with_suffix(".source")
    source = task.source(meta)
    if task.out.is_file() and mark.is_file() and mark.read_bytes() == _mark(source, task.out):
        return ShardReport(rows=pq.read_metadata(task.out).num_rows, reused=True)

    phases = Phases()
    rows = unreadable = 0
    # On a CPU one thread computes a batch: how many threads share one operation decides how its sums are rounded. MKL's
    # number is that of the whole process, and the loader puts back the one here while the towers are still at work.
    towers = workers if backbone.device.type == "cpu" else 1
    with (
        devices.memory_errors(f"lower features.batch_size, which is {params.batch_size}"),
        threads.torch_threads(1),
        write_shard(task.out, meta) as writer,
        ThreadPoolExecutor(1) as writing,
        nullcontext(loader) if loader else closing(Loader(backbone, meta, params, workers=workers)) as images,
        closing(images.batches(verified.locate(task.tar, task.entries), phases)) as batches,
        threads.pool(towers, torch_threads_each=1) as tower,
    ):

        def compute(inputs: Inputs) -> Callable[[], FeatureBatch]:
            with phases("tower"):
                return encode(inputs, backbone, meta)

        def write(encoded: Future[Callable[[], FeatureBatch]]) -> None:
            batch = encoded.result()()
            with phases("write"):
                writer.append(batch)

        written: deque[Future[None]] = deque()
        while True:
            with phases("wait for images"):
                inputs = next(batches, None)
            if inputs is None:
                break
            if inputs.entries:
                written.append(writing.submit(write, tower.submit(compute, inputs)))
            # One batch is written while each tower has one; a further one has to wait.
            if len(written) > towers:
                with phases("wait for writing"):
                    written.popleft().result()
            rows += len(inputs.entries)
            unreadable += inputs.unreadable
            progress(rows + unreadable, len(task.entries))
        while written:
            with phases("wait for writing"):
                written.popleft().result()
        if unreadable > params.max_dropped * len(task.entries):
            raise InvalidData(
                f"{task.tar}: {unreadable} of {len(task.entries)} images cannot be read, more than "
                f"features.max_dropped = {params.max_dropped} allows"
            )
    write_text(mark, _mark(source, task.out).decode())
    return ShardReport(rows, {"unreadable": unreadable} if unreadable else {}, phases.seconds())


def _mark(source: str, shard: Path) -> bytes:
    """What lies beside a finished shard: what it was made of, and the hash of the file itself."""
    return f"{source} {sha256(shard)}\n".encode()

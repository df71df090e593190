"""From tars of images to shards of features. Everything frozen is computed here, once."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import open_clip
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from clipn import augment, images, manifest, tars
from clipn.backbone import Backbone
from clipn.config import FeaturesParams
from clipn.errors import InvalidData
from clipn.io import write_text
from clipn.manifest import Entry
from clipn.progress import Progress, silent
from clipn.store import FeatureBatch, FeatureMeta, write_shard
from clipn.timing import Phases
from clipn.tokens import TokenLists

In = TypeVar("In")
Out = TypeVar("Out")

TEXT_BATCH = 1024


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
        """Changes whenever the shard would: with an image, a caption, a label, the backbone or the views."""
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
    """The shards that a folder with a manifest makes.

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


def describe_training(backbone: Backbone, params: FeaturesParams) -> FeatureMeta:
    """What training features of this backbone are."""
    meta = describe(backbone, "training")
    return replace(meta, views=params.views, view_scale=params.view_scale) if params.views else meta


def describe(backbone: Backbone, kind: str, classes: Sequence[str] = ()) -> FeatureMeta:
    """What features of this backbone are, without views; `kind` is `training` or `evaluation`."""
    preprocess = open_clip.get_model_preprocess_cfg(backbone.model)
    with torch.inference_mode():
        dim = backbone.text(backbone.tokenize(["a"]).to(backbone.device)).shape[1]
    return FeatureMeta(
        dim=dim,
        backbone=backbone.fingerprint,
        preprocess=", ".join(f"{key}={preprocess[key]}" for key in sorted(preprocess)),
        logit_scale=backbone.logit_scale,
        kind=kind,
        classes=tuple(classes),
    )


def encode_shard(
    task: ShardTask,
    backbone: Backbone,
    meta: FeatureMeta,
    params: FeaturesParams,
    *,
    workers: int = 1,
    progress: Progress = silent,
) -> ShardReport:
    """Make one feature shard, unless a good one of the same source is already there.

    Images are decoded in `workers` threads while the tower works on the batch before. With views, an
    image is decoded once, and a batch of the tower holds `params.batch_size` crops, not images.

    Raises:
        InvalidData: the tar is damaged, lacks images that the manifest lists, holds other images than
            the manifest says, or too large a share of them cannot be read.
        NonFinite: a feature is NaN or infinite.
    """
    mark = task.out.with_suffix(".source")
    source = task.source(meta)
    if task.out.is_file() and mark.is_file() and mark.read_text(encoding="utf-8") == source:
        return ShardReport(rows=pq.read_metadata(task.out).num_rows, reused=True)

    phases = Phases()
    report = ShardReport()

    crops = _crops(backbone, meta)

    def decode(samples: list[tuple[Entry, bytes]]) -> tuple[list[Entry], list[Tensor], int]:
        kept, tensors = [], []
        for entry, data in samples:
            try:
                tensors.append(crops(entry.key, images.decode(data, params.max_pixels)))
            except InvalidData:
                continue
            kept.append(entry)
        return kept, tensors, len(samples) - len(kept)

    with ThreadPoolExecutor(max_workers=workers) as pool, write_shard(task.out, meta) as writer:
        size = max(1, params.batch_size // (1 + meta.views))
        decoded = _ahead(pool, decode, _batches(_samples(task), size), depth=workers + 1)
        unreadable = 0
        while True:
            with phases("read and decode"):
                item = next(decoded, None)
            if item is None:
                break
            entries, tensors, bad = item
            unreadable += bad
            if entries:
                with phases("tower"):
                    batch = _encode(entries, torch.stack(tensors), backbone, meta.kind)
                with phases("write"):
                    writer.append(batch)
            progress(writer.rows + unreadable, len(task.entries))
        if unreadable > params.max_dropped * len(task.entries):
            raise InvalidData(
                f"{task.tar}: {unreadable} of {len(task.entries)} images cannot be read, more than "
                f"features.max_dropped = {params.max_dropped} allows"
            )
        report.rows = writer.rows
    write_text(mark, source)
    report.dropped = {"unreadable": unreadable} if unreadable else {}
    report.seconds = phases.seconds()
    return report


def encode_images(backbone: Backbone, pixels: Tensor) -> NDArray[np.float32]:
    """Unit-norm image features [N, D] of preprocessed images [N, 3, H, W]; bfloat16 inside the tower on a GPU."""
    on_gpu = backbone.device.type == "cuda"
    inputs = pixels.to(backbone.device, memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=on_gpu):
        features = backbone.model.encode_image(inputs)  # type: ignore[operator]
    return F.normalize(features.float(), dim=-1).cpu().numpy()


def encode_texts(encode: Callable[[Tensor], Tensor], tokens: Tensor, device: torch.device) -> NDArray[np.float32]:
    """Features [N, D] of token ids [N, L] by a yes or no text encoder, in batches."""
    with torch.inference_mode():
        parts = [encode(part.to(device)).float().cpu().numpy() for part in tokens.split(TEXT_BATCH)]
    return np.concatenate(parts)


def _samples(task: ShardTask) -> Iterator[tuple[Entry, bytes]]:
    """The images that the manifest lists, checked against it."""
    wanted = {entry.key: entry for entry in task.entries}
    for key, sample in tars.read(task.tar):
        entry = wanted.pop(key, None)
        if entry is None:
            continue
        data = next((content for suffix, content in sample.items() if f".{suffix}" in images.SUFFIXES), b"")
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise InvalidData(
                f"{task.tar}: the image {key} is not the one in the manifest; delete the tar and run 'dvc repro' again"
            )
        yield entry, data
    if wanted:
        raise InvalidData(
            f"{task.tar} lacks {len(wanted)} images of the manifest, the first {min(wanted)}; it may have been cut. "
            "Delete it and run 'dvc repro' again"
        )


def _batches(items: Iterable[In], size: int) -> Iterator[list[In]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _ahead(pool: ThreadPoolExecutor, function: Callable[[In], Out], items: Iterable[In], depth: int) -> Iterator[Out]:
    """`map` that keeps `depth` calls under way while the caller works on a result."""
    pending: deque = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) >= depth:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _crops(backbone: Backbone, meta: FeatureMeta) -> Callable[[str, Image.Image], Tensor]:
    """What makes of a key and its image the centre crop and then the views, [1 + V, 3, H, W]."""
    whole, scale = augment.squash(backbone.model), meta.view_scale

    def crops(key: str, image: Image.Image) -> Tensor:
        views = [augment.view(image, key, number, scale, whole) for number in range(meta.views)] if scale else []
        return torch.stack([backbone.preprocess(image), *views])

    return crops


def _encode(entries: Sequence[Entry], crops: Tensor, backbone: Backbone, kind: str) -> FeatureBatch:
    """Rows of images whose crops are [N, 1 + V, 3, H, W]."""
    keys = [entry.key for entry in entries]
    encoded = encode_images(backbone, crops.flatten(0, 1)).reshape(*crops.shape[:2], -1)
    image, views = encoded[:, 0], encoded[:, 1:] if crops.shape[1] > 1 else None
    if kind != "training":
        label = np.array([-1 if entry.label is None else entry.label for entry in entries], np.int32)
        return FeatureBatch(keys, image, label=label)
    ids = backbone.tokenize([entry.caption or "" for entry in entries])
    text = encode_texts(backbone.text, ids, backbone.device)
    lengths = (backbone.text.ends(ids) + 1).numpy()
    tokens = TokenLists.of([row[:length] for row, length in zip(ids.numpy(), lengths, strict=True)])
    return FeatureBatch(keys, image, text=text, tokens=tokens, views=views)

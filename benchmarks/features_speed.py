"""Images per second from tar to feature shard, beside each part of the way alone, in one run.

    python -m benchmarks.features_speed [--model ViT-B-16 | --backbone FOLDER] [--tar FILE] [--device cuda]
        [--workers 16] [--json FILE]

Without `--tar`, pictures of coloured 1/f noise, the spectrum of photographs, are drawn at the size of
downloaded CC3M images; without `--backbone`, the tower has random weights.

- read: find the images in the tar, turn captions into token ids.
- decode, threads; decode, processes: read an image, compare it with its SHA-256, decode and crop it, in
  `--workers` threads or processes, and collect the batches.
- tower: image and text features of batches that are ready, with the way to the device and normalising.
- write: float16 and Parquet.
- whole, threads; whole, processes: `clipn.features.shards.encode_shard`, tower on `--device`.
- apart: the same in threads with a STAND-IN for a tower on a device of its own, which waits for as long as
  a batch takes at the rate at which threads decode, and keeps no core busy. Both are then equally slow,
  which is the case where working at the same time counts most. What the first batch takes to decode and
  the last one in the tower is counted: take many batches.

Processes run before the clock starts, as they do in a stage after its first shard; what their
start takes stands below the table, whose CPU times are those of this process alone.

Where tower and decoders have their own hardware, the whole can be as fast as the slower of both. Where
they share the cores, no order of the work is faster than all parts one after the other, each with all
cores to itself, apart from what the parts with one thread leave idle; `whole` is compared with that too.

All take turns, so that whatever else the machine does falls on all of them alike.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import math
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks import results
from clipn.config import FeaturesParams
from clipn.data import images, tars, verified
from clipn.data.manifest import Entry
from clipn.features.encode import encode
from clipn.features.inputs import Loader
from clipn.features.shards import ShardTask, describe, encode_shard
from clipn.features.store import write_shard
from clipn.models import backbone
from clipn.models.backbone import Backbone
from clipn.utils.progress import Phases

WAYS = ("threads", "processes")
PARTS = ("read", "tower", "write")
CAPTION = "a photograph of a small red boat on a quiet lake at dawn"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-B-16", help="of open_clip, with random weights")
    parser.add_argument("--backbone", type=Path, help="an open_clip folder instead")
    parser.add_argument("--tar", type=Path, help="images of your own: a tar of files, in folders or not")
    parser.add_argument("--images", type=int, default=1024, help="at most")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        clip = backbone.load(options.backbone or random_backbone(options.model, folder / "clip"), options.device)
        task = packed(photographs(options.tar, options.images), folder)
        bench = Bench(clip, task, options.batch_size, options.workers, stack)
        runs = bench.runs()
        rates: dict[str, list[float]] = {part: [] for part in runs}
        cpu: dict[str, list[float]] = {part: [] for part in runs}
        for number in range(options.rounds):
            for part, run in runs.items():
                if part == "apart":
                    bench.stand_in_rate = rates["decode, threads"][-1]
                start, busy = time.perf_counter(), time.process_time()
                run()
                rates[part].append(len(task.entries) / (time.perf_counter() - start))
                cpu[part].append(1000 * (time.process_time() - busy) / len(task.entries))
            print(f"round {number + 1} of {options.rounds}", flush=True)
        ratios = compared(rates)
        title = f"{len(task.entries)} images, {options.workers} decoders, tower on {options.device}"
        show(rates, cpu, ratios, bench, title)
        if options.json:
            what = ("images", "batch_size", "workers", "rounds")
            figures = {
                "model": str(options.backbone or options.model),
                **{name: getattr(options, name) for name in what},
                "images": len(task.entries),
                "images_per_second": {part: statistics.median(values) for part, values in rates.items()},
                "images_per_second_of_rounds": rates,
                "ratios": ratios,
                "seconds_to_start_processes": bench.seconds_to_start,
            }
            results.write(options.json, options.device, figures)


class Bench:
    """The way from a tar to a shard, whole and in parts."""

    def __init__(self, clip: Backbone, task: ShardTask, batch_size: int, workers: int, stack: ExitStack) -> None:
        self._clip, self._task, self._workers = clip, task, workers
        self._params = FeaturesParams(
            batch_size=batch_size, max_pixels=10**8, max_dropped=0.5, views=0, view_scale=(0.9, 1.0), patches=False
        )
        self._meta = describe(clip, self._params, "training")
        self._samples = list(verified.locate(task.tar, task.entries))
        self._loaders = {
            (way, kind): stack.enter_context(closing(self._loader(kind, way == "processes")))
            for way in WAYS
            for kind in ("training", "evaluation")
        }
        self._inputs = next(self._loaders["threads", "training"].batches(self._samples, Phases()))
        self._rows = encode(self._inputs, clip, self._meta)()
        self._batches = -(-len(self._samples) // len(self._inputs.entries))
        self.stand_in_rate = math.inf
        self.seconds: dict[str, Counter[str]] = {}
        start = time.perf_counter()
        self.decode("processes")
        self.seconds_to_start = time.perf_counter() - start
        self._encode("", clip, "processes")

    def runs(self) -> dict[str, Callable[[], None]]:
        """What is measured, in the order in which it takes turns."""
        return {
            "read": self.read,
            **{f"decode, {way}": partial(self.decode, way) for way in WAYS},
            "tower": self.tower,
            "write": self.write,
            **{f"whole, {way}": partial(self._encode, f"whole, {way}", self._clip, way) for way in WAYS},
            "apart": self.apart,
        }

    def _loader(self, kind: str, processes: bool) -> Loader:
        meta = replace(self._meta, kind=kind)
        return Loader(self._clip, meta, self._params, workers=self._workers, processes=processes)

    def read(self) -> None:
        captions = [image.entry.caption or "" for image in verified.locate(self._task.tar, self._task.entries)]
        self._clip.tokenize(captions)

    def decode(self, way: str) -> None:
        for _ in self._loaders[way, "evaluation"].batches(self._samples, Phases()):
            pass

    def tower(self) -> None:
        rows = None
        for _ in range(self._batches):
            following = encode(self._inputs, self._clip, self._meta)
            if rows is not None:
                rows()  # while a GPU computes the following batch, as in `encode_shard`
            rows = following
        assert rows is not None
        rows()

    def write(self) -> None:
        with write_shard(self._task.out, self._meta) as writer:
            for _ in range(self._batches):
                writer.append(self._rows)

    def apart(self) -> None:
        tower = StandIn(self._clip.model, self._meta.dim, self.stand_in_rate)
        clip = replace(self._clip, model=tower, text=StandInText(self._clip.text, self._meta.dim))  # type: ignore[arg-type]
        self._encode("apart", clip, "threads")

    def _encode(self, name: str, clip: Backbone, way: str) -> None:
        self._task.out.unlink(missing_ok=True)
        report = encode_shard(
            self._task, clip, self._meta, self._params, workers=self._workers, loader=self._loaders[way, "training"]
        )
        self.seconds.setdefault(name, Counter()).update(report.seconds)


class StandIn(nn.Module):
    """In place of a tower on a device of its own: takes time and no core."""

    def __init__(self, model: nn.Module, dim: int, rate: float) -> None:
        super().__init__()
        self.visual, self._dim, self._rate = model.visual, dim, rate

    def encode_image(self, pixels: Tensor) -> Tensor:
        time.sleep(len(pixels) / self._rate)
        return torch.ones(len(pixels), self._dim)


class StandInText:
    """Its text tower, whose time is that of the image tower."""

    def __init__(self, text: Any, dim: int) -> None:
        self.ends, self._dim = text.ends, dim

    def __call__(self, tokens: Tensor) -> Tensor:
        return torch.full((len(tokens), self._dim), self._dim**-0.5)


def random_backbone(name: str, folder: Path) -> Path:
    torch.manual_seed(0)
    model = open_clip.create_model(name, pretrained=None)
    backbone.save(model, open_clip.get_model_config(name), open_clip.get_model_preprocess_cfg(model), folder)
    return folder


def photographs(tar: Path | None, count: int) -> list[bytes]:
    """The first images of a tar, or pictures drawn at the size that CC3M is downloaded in."""
    if tar is not None:
        found = (content for _, sample in tars.read(tar) for suffix, content in sample.items() if is_image(suffix))
        return [content for content, _ in zip(found, range(count), strict=False)]
    rng = np.random.default_rng(0)
    height, width = 256, 341
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    frequency[0, 0] = np.inf
    return [drawn(rng.normal(size=(3, height, width)), frequency) for _ in range(count)]


def drawn(noise: np.ndarray, frequency: np.ndarray) -> bytes:
    values = np.fft.ifft2(np.fft.fft2(noise) / frequency).real
    pixels = np.clip(128 + 50 * values / values.std(), 0, 255).astype(np.uint8).transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def is_image(suffix: str) -> bool:
    return f".{suffix}" in images.SUFFIXES


def packed(contents: list[bytes], folder: Path) -> ShardTask:
    samples = [(f"{row:08d}", {"jpg": content}) for row, content in enumerate(contents)]
    tars.write(folder / "images.tar", samples)
    entries = [
        Entry(key, f"{key}.jpg", caption=CAPTION, sha256=hashlib.sha256(sample["jpg"]).hexdigest())
        for key, sample in samples
    ]
    return ShardTask(folder / "images.tar", entries, folder / "out" / "images.parquet")


def compared(rates: dict[str, list[float]]) -> dict[str, float]:
    """What the whole reaches of its parts, by medians over the rounds."""
    middle = {part: statistics.median(values) for part, values in rates.items()}
    ratios = {}
    for way in WAYS:
        decode, whole = middle[f"decode, {way}"], middle[f"whole, {way}"]
        in_turn = 1 / (1 / decode + sum(1 / middle[part] for part in PARTS))
        ratios[f"whole / min(tower, decode), {way}"] = whole / min(middle["tower"], decode)
        ratios[f"whole / all parts in turn, {way}"] = whole / in_turn
    ratios["whole, processes / whole, threads"] = middle["whole, processes"] / middle["whole, threads"]
    apart = zip(rates["apart"], rates["decode, threads"], strict=True)
    ratios["apart / decode, whose rate the stand-in has"] = statistics.median(whole / part for whole, part in apart)
    return ratios


def show(
    rates: dict[str, list[float]], cpu: dict[str, list[float]], ratios: dict[str, float], bench: Bench, title: str
) -> None:
    table = Table("", "images/s, median", "lowest", "highest", "CPU ms an image", title=title)
    for part, values in rates.items():
        numbers = (f"{value:.1f}" for value in (statistics.median(values), min(values), max(values)))
        table.add_row(part, *numbers, f"{statistics.median(cpu[part]):.2f}")
    console = Console(width=110)
    console.print(table)
    for text, share in ratios.items():
        console.print(f"{text}: {100 * share:.0f} %")
    console.print(f"start of processes and first pass through them: {bench.seconds_to_start:.1f} s")
    for name, seconds in bench.seconds.items():
        if name:
            parts = ", ".join(f"{part} {value:.1f}" for part, value in seconds.items())
            console.print(f"{name}, seconds busy: {parts}")


if __name__ == "__main__":
    main()

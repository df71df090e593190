"""Images per second from tar to feature shard, beside each part of the way alone, in one run.

    python -m benchmarks.features_speed [--model ViT-B-16 | --backbone FOLDER] [--tar FILE] [--device cuda]

Without `--tar`, pictures of coloured 1/f noise, the spectrum of photographs, are drawn at the size of
downloaded CC3M images; without `--backbone`, the tower has random weights.

- read: read the tar, compare every image with its SHA-256, turn captions into token ids.
- decode: decode and preprocess in `--workers` threads.
- tower: image and text features of batches that are ready.
- write: float16 and Parquet.
- whole: `clipn.features.encode.encode_shard`, tower on `--device`.
- apart: the same with a STAND-IN for a tower on a device of its own, which waits for as long as a
  batch takes at the rate at which images are decoded, and keeps no core busy. Both are then equally
  slow, which is the case where working at the same time counts most. What the first batch takes to
  decode and the last one in the tower is counted: take many batches.

Where tower and decoders have their own hardware, the whole can be as fast as the slowest part. Where
they share the cores, no order of the work is faster than all parts one after the other, each with all
cores to itself, apart from what the parts with one thread leave idle; `whole` is compared with that.

The six take turns, so that whatever else the machine does falls on all of them alike.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import math
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from clipn.data import images, tars
from clipn.data.manifest import Entry
from clipn.features import encode
from clipn.features.encode import ShardTask
from clipn.features.inputs import Loader, read
from clipn.features.store import write_shard
from clipn.models import backbone
from clipn.models.backbone import Backbone
from clipn.project import profiles
from clipn.project.params import parse_params
from clipn.utils.progress import Phases

PARTS = ("read", "decode", "tower", "write")
CAPTION = "a photograph of a small red boat on a quiet lake at dawn"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-B-16", help="of open_clip, with random weights")
    parser.add_argument("--backbone", type=Path, help="an open_clip folder instead")
    parser.add_argument("--tar", type=Path, help="images of your own: a tar of files, in folders or not")
    parser.add_argument("--images", type=int, default=1024, help="at most")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = backbone.load(options.backbone or random_backbone(options.model, folder / "clip"), options.device)
        task = packed(photographs(options.tar, options.images), folder)
        bench = Bench(clip, task, options.batch_size, options.workers)
        runs: dict[str, Callable[[], None]] = {part: getattr(bench, part) for part in (*PARTS, "whole", "apart")}
        rates: dict[str, list[float]] = {part: [] for part in runs}
        cpu: dict[str, list[float]] = {part: [] for part in runs}
        for number in range(options.rounds):
            for part, run in runs.items():
                if part == "apart":
                    bench.stand_in_rate = rates["decode"][-1]
                start, busy = time.perf_counter(), time.process_time()
                run()
                rates[part].append(len(task.entries) / (time.perf_counter() - start))
                cpu[part].append(1000 * (time.process_time() - busy) / len(task.entries))
            print(f"round {number + 1} of {options.rounds}", flush=True)
        show(rates, cpu, bench, f"{len(task.entries)} images, {options.workers} decoders, tower on {options.device}")


class Bench:
    """The way from a tar to a shard, whole and in parts."""

    def __init__(self, clip: Backbone, task: ShardTask, batch_size: int, workers: int) -> None:
        self._clip, self._task, self._workers = clip, task, workers
        self._params = parse_params(profiles.compose("miniature", [f"features.batch_size={batch_size}"])).features
        self._meta = encode.describe(clip, self._params, "training")
        self._samples = list(read(task.tar, task.entries))
        self._inputs = next(self._loader("training").batches(self._samples[:batch_size]))
        self._rows = encode.encode(self._inputs, clip, self._meta)()
        self._batches = -(-len(self._samples) // batch_size)
        self.stand_in_rate = math.inf
        self.seconds: dict[str, Counter[str]] = {"whole": Counter(), "apart": Counter()}

    def _loader(self, kind: str) -> Loader:
        meta = replace(self._meta, kind=kind)
        return Loader(self._clip, meta, self._params, workers=self._workers, phases=Phases())

    def read(self) -> None:
        captions = [entry.caption or "" for entry, _ in read(self._task.tar, self._task.entries)]
        self._clip.tokenize(captions)

    def decode(self) -> None:
        for _ in self._loader("evaluation").batches(self._samples):
            pass

    def tower(self) -> None:
        for _ in range(self._batches):
            encode.encode(self._inputs, self._clip, self._meta)()

    def write(self) -> None:
        with write_shard(self._task.out, self._meta) as writer:
            for _ in range(self._batches):
                writer.append(self._rows)

    def whole(self) -> None:
        self._encode("whole", self._clip)

    def apart(self) -> None:
        tower = StandIn(self._clip.model, self._meta.dim, self.stand_in_rate)
        self._encode("apart", replace(self._clip, model=tower, text=StandInText(self._clip.text, self._meta.dim)))  # type: ignore[arg-type]

    def _encode(self, name: str, clip: Backbone) -> None:
        self._task.out.unlink(missing_ok=True)
        report = encode.encode_shard(self._task, clip, self._meta, self._params, workers=self._workers)
        self.seconds[name].update(report.seconds)


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


def show(rates: dict[str, list[float]], cpu: dict[str, list[float]], bench: Bench, title: str) -> None:
    middle = {part: statistics.median(values) for part, values in rates.items()}
    table = Table("", "images/s, median", "lowest", "highest", "CPU ms an image", title=title)
    for part, values in rates.items():
        numbers = (f"{value:.1f}" for value in (middle[part], min(values), max(values)))
        table.add_row(part, *numbers, f"{statistics.median(cpu[part]):.2f}")
    console = Console(width=110)
    console.print(table)
    slowest = min(PARTS, key=lambda part: middle[part])
    in_turn = 1 / sum(1 / middle[part] for part in PARTS)
    apart = statistics.median(whole / part for whole, part in zip(rates["apart"], rates["decode"], strict=True))
    for text, share in (
        (f"whole / slowest part, {slowest}", middle["whole"] / middle[slowest]),
        (f"whole / all parts in turn, {in_turn:.1f}/s, the bound on shared cores", middle["whole"] / in_turn),
        ("apart / decode, whose rate the stand-in has, median over rounds", apart),
    ):
        console.print(f"{text}: {100 * share:.0f} %")
    for name, seconds in bench.seconds.items():
        console.print(f"{name}, seconds busy: " + ", ".join(f"{part} {value:.1f}" for part, value in seconds.items()))


if __name__ == "__main__":
    main()

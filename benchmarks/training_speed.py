"""Samples per second of the trainer, beside the plain method and the bare no encoder, in one run.

    python -m benchmarks.training_speed [--precision bfloat16] [--device cuda] [--batch-size 2048] [--model ViT-L-14]

The geometry is ViT-B-16's with random weights, unless another model of open_clip is named. Captions have
random tokens and the lengths of Conceptual Captions: 10.3 ± 4.5 words (Sharma et al., ACL 2018, table 2),
drawn from a log-normal distribution, 1.1 tokens a word, and start and end token.

- plain: what a step costs when nothing is kept: image tower and "yes" text tower forward, no text
  encoder forward and backward at full context, loss, optimizer. Decoding of images is left out.
- trainer: `clipn.training.loop.fit` on batches that stream from Parquet shards, read as `clipn train` reads it.
- bare: forward and backward of the same no-text encoder on the same kind of batches, held in memory.

The three take turns, so that whatever else the machine does falls on all of them alike. A turn has
`--steps` steps; on a GPU it ends when the device is done with them. There the time that kernels take in a
step of the trainer is measured too, and what a run waits for its first step, compilation included.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

from benchmarks.results import write
from clipn.config import TrainParams
from clipn.features.store import FeatureBatch, FeatureMeta, FeatureStore, TokenLists, write_index, write_shard
from clipn.losses import image_text_binary_opposite, text_semantic_opposite
from clipn.models.no_encoder import NoTextEncoder
from clipn.optim import adamw
from clipn.project.params import read_params
from clipn.training import loop
from clipn.training.distributed import Group
from clipn.training.stream import Batch, Draws, PairStream

START, END = 49406, 49407
CONTEXT = 77
ROOT = Path(__file__).parent.parent
WARM_UP = 5
KERNEL_STEPS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--model", default="ViT-B-16", help="of open_clip")
    parser.add_argument("--batch-size", type=int, default=512, help="of trainer and bare encoder")
    parser.add_argument("--plain-batch-size", type=int, help="of the plain method, which needs more memory")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="of each way in a round; 1 on a CPU, 20 on a GPU")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    device = torch.device(options.device)
    gpu = device.type == "cuda"
    steps = options.steps or (20 if gpu else 1)
    plain_size = options.plain_batch_size or ((512 if options.precision == "bfloat16" else 256) if gpu else 32)
    params = replace(
        read_params(ROOT / "params.yaml").train, batch_size=options.batch_size, precision=options.precision
    )

    torch.manual_seed(0)
    clip = open_clip.create_model(options.model, pretrained=None).to(device).eval().requires_grad_(False)
    with tempfile.TemporaryDirectory() as folder:
        pairs = (20 if gpu else options.rounds + 2) * options.batch_size
        store = write_captions(Path(folder), pairs, clip.text_projection.shape[1])
        print(f"captions: {store.load().tokens.lengths.mean():.1f} tokens on average", flush=True)  # type: ignore[union-attr]
        start = time.perf_counter()
        trainer = Trainer(clip, store, params, device)
        trainer.run(1)
        first = time.perf_counter() - start
        print(f"trainer: first step after {first:.1f} s", flush=True)
        plain = Plain(clip, store, plain_size, params, device)
        bare = Bare(clip, store, params, device)
        ways: dict[str, Callable[[int], int]] = {"plain": plain.run, "trainer": trainer.run, "bare": bare.run}
        for run in ways.values():
            run(WARM_UP if gpu else 1)
        rates: dict[str, list[float]] = {name: [] for name in ways}
        trainer.seconds.clear()
        for number in range(options.rounds):
            for name, run in ways.items():
                start = time.perf_counter()
                samples = run(steps)
                rates[name].append(samples / (time.perf_counter() - start))
            print(f"round {number + 1} of {options.rounds}", flush=True)
        seconds = trainer.seconds  # without those of the profiler, which slows the host down
        trainer.seconds = {}
        kernels = kernel_seconds(trainer, KERNEL_STEPS) if gpu else None
    figures = summary(rates, first, kernels, options.batch_size)
    show(figures, seconds, options.precision, device)
    if options.json:
        chosen = {name: getattr(options, name) for name in ("model", "precision", "batch_size")}
        write(options.json, options.device, {"options": {**chosen, "plain_batch_size": plain_size}, **figures})


class Plain:
    """Every step computes everything at full context."""

    def __init__(
        self, clip: torch.nn.Module, store: FeatureStore, size: int, params: TrainParams, device: torch.device
    ):
        self._clip, self._device, self._half = clip, device, params.precision == "bfloat16"
        self._encoder = NoTextEncoder(clip, params.n_prompts).to(device)
        self._optimizer = adamw(self._encoder, lr=1e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2)
        tokens = store.load().tokens
        assert tokens is not None
        rows = torch.from_numpy(tokens.padded(np.arange(size)))
        self._tokens = F.pad(rows, (0, CONTEXT - rows.shape[1])).to(device)
        self._pixels = torch.randn(size, 3, *clip.visual.image_size, device=device)

    def run(self, steps: int) -> int:
        for _ in range(steps):
            self._step()
        finish(self._device)
        return steps * len(self._tokens)

    def _step(self) -> None:
        clip, no = self._clip, self._encoder.encoder
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
            with torch.no_grad():
                images = F.normalize(clip.encode_image(self._pixels).float(), dim=-1)  # type: ignore[operator]
                texts = clip.encode_text(self._tokens, normalize=True).float()  # type: ignore[operator]
            prompts = self._encoder.prompts
            assert prompts is not None
            x = no.token_embedding(self._tokens) + no.positional_embedding + prompts[0]
            x = no.transformer(x, attn_mask=no.causal_mask)
            x = no.ln_final(x)[torch.arange(len(x)), no.ends(self._tokens)] @ no.text_projection
            no_texts = F.normalize(x.float(), dim=-1)
        scale = torch.tensor(100.0, device=self._device)
        binary = image_text_binary_opposite(images, texts, no_texts, scale)
        loss = (binary.yes + binary.no + text_semantic_opposite(texts, no_texts)) / 2
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()


class Trainer:
    """The project's own loop; also measures where its time goes."""

    def __init__(self, clip: torch.nn.Module, store: FeatureStore, params: TrainParams, device: torch.device):
        self._device, self._size = device, params.batch_size
        self.seconds: dict[str, list[float]] = {}
        encoder = NoTextEncoder(clip, params.n_prompts).to(device)
        state = loop.State.start(encoder, params)
        self._time(encoder, "forward", "forward")
        self._time(state.optimizer, "step", "optimizer")
        stream = pair_stream(store, params, encoder, device)
        self._steps = loop.fit(
            state,
            self._timed(stream.batches(pin=device.type == "cuda")),
            steps=10**6,
            steps_per_epoch=stream.steps_per_epoch,
            params=params,
            logit_scale=100.0,
            group=Group(0, 1, device),
        )

    def run(self, steps: int) -> int:
        start = time.perf_counter()
        unread = None
        for launched in islice(self._steps, steps):
            if unread is not None:
                unread.read()
            unread = launched
        if unread is not None:
            unread.read()
        self.seconds.setdefault("step", []).append((time.perf_counter() - start) / steps)
        return steps * self._size

    def _time(self, thing: object, method: str, name: str) -> None:
        function = getattr(thing, method)

        def timed(*args: object) -> object:
            start = time.perf_counter()
            result = function(*args)
            self.seconds.setdefault(name, []).append(time.perf_counter() - start)
            return result

        setattr(thing, method, timed)

    def _timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        while True:
            start = time.perf_counter()
            batch = next(batches)
            self.seconds.setdefault("waiting for data", []).append(time.perf_counter() - start)
            yield batch


class Bare:
    """The no encoder alone, on batches that are there already."""

    def __init__(self, clip: torch.nn.Module, store: FeatureStore, params: TrainParams, device: torch.device):
        self._device, self._half = device, params.precision == "bfloat16"
        self._encoder = NoTextEncoder(clip, params.n_prompts).to(device)
        stream = pair_stream(store, params, self._encoder, device)
        self._batches = list(islice(stream.batches(), stream.steps_per_epoch))
        self._next = 0

    def run(self, steps: int) -> int:
        for _ in range(steps):
            self._step()
        finish(self._device)
        return steps * len(self._batches[0].keys)

    def _step(self) -> None:
        batch = self._batches[self._next % len(self._batches)]
        self._next += 1
        self._encoder.zero_grad()
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
            features = self._encoder(batch.tokens, batch.prompts)
        features.float().sum().backward()


def pair_stream(store: FeatureStore, params: TrainParams, encoder: NoTextEncoder, device: torch.device) -> PairStream:
    """The pairs as the trainer streams them."""
    return PairStream(
        store,
        batch_size=params.batch_size,
        seed=0,
        draws=Draws(n_prompts=params.n_prompts, mean=True),
        shuffle_rows=params.shuffle_rows,
        pack=partial(encoder.encoder.pack, blocks=loop.fuse(encoder, params, device)),
    )


def write_captions(folder: Path, pairs: int, dim: int) -> FeatureStore:
    """Training features of random numbers with captions of Conceptual Captions' lengths."""
    rng = np.random.default_rng(0)
    spread = np.sqrt(np.log(1 + (4.5 / 10.3) ** 2))
    words = rng.lognormal(np.log(10.3) - spread**2 / 2, spread, size=pairs)
    lengths = np.clip(np.round(1.1 * words), 3, CONTEXT - 2).astype(int)
    tokens = [np.array([START, *rng.integers(1, START, size=length), END], np.int32) for length in lengths]
    image, text = (
        values / np.linalg.norm(values, axis=1, keepdims=True) for values in rng.normal(size=(2, pairs, dim))
    )
    meta = FeatureMeta(dim=dim, backbone="random", preprocess="none", logit_scale=100.0, kind="training")
    with write_shard(folder / "00000.parquet", meta) as writer:
        writer.append(FeatureBatch([f"{i:08d}" for i in range(pairs)], image, text=text, tokens=TokenLists.of(tokens)))
    write_index(folder, [folder / "00000.parquet"])
    return FeatureStore.open(folder)


def finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def kernel_seconds(trainer: Trainer, steps: int) -> float:
    """Seconds that the GPU is busy in a step."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        trainer.run(steps)
    busy = [event for event in profile.events() or [] if event.device_type == torch.autograd.DeviceType.CUDA]
    return sum(event.time_range.elapsed_us() for event in busy) / 1e6 / steps


def summary(rates: dict[str, list[float]], first: float, kernels: float | None, batch_size: int) -> dict[str, Any]:
    """Return medians, their ratios, and how long kernels keep the device busy."""
    middle = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "samples_per_second": {
            name: {"median": middle[name], "lowest": min(values), "highest": max(values)}
            for name, values in rates.items()
        },
        "trainer_over_plain": middle["trainer"] / middle["plain"],
        "trainer_over_bare": middle["trainer"] / middle["bare"],
        "first_step_seconds": first,
        "kernels_busy": None if kernels is None else kernels * middle["trainer"] / batch_size,
    }


def show(figures: dict[str, Any], seconds: dict[str, list[float]], precision: str, device: torch.device) -> None:
    table = Table(
        "", "samples/s, median", "lowest", "highest", title=f"{precision}, {device}, {torch.get_num_threads()} threads"
    )
    for name, values in figures["samples_per_second"].items():
        table.add_row(name, *(f"{value:,.2f}" for value in values.values()))
    console = Console(width=100)
    console.print(table)
    console.print(f"trainer / plain: {figures['trainer_over_plain']:.1f} ×")
    console.print(f"trainer / bare no-text encoder: {100 * figures['trainer_over_bare']:.1f} %")
    if figures["kernels_busy"] is not None:
        console.print(f"kernels busy: {100 * figures['kernels_busy']:.0f} % of a step of the trainer")
    step = statistics.median(seconds["step"])
    parts = {name: statistics.median(values) for name, values in seconds.items() if name != "step"}
    parts["everything else"] = step - sum(parts.values())
    # On a GPU these are the times of the host, which only starts the work.
    console.print("a step: " + ", ".join(f"{name} {100 * value / step:.1f} %" for name, value in parts.items()))


if __name__ == "__main__":
    main()

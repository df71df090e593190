"""From a tar to batches of pixels, made ahead of the tower that takes them.

One thread reads the images out of the tar and turns captions into token ids; a pool of threads decodes.
Pillow gives other threads their turn while it decodes and resizes, so no pixels have to travel between
processes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

import torch
from PIL import Image
from torch import Tensor

from clipn.config import FeaturesParams
from clipn.data import images
from clipn.data.manifest import Entry
from clipn.errors import InvalidData
from clipn.features.rows import FeatureMeta
from clipn.features.views import squash, view
from clipn.models.backbone import Backbone
from clipn.utils.progress import Phases
from clipn.utils.threads import pool, prefetch

BATCHES_AHEAD = 2
"""Batches that are decoded while the tower has another: one may wait, one more is in the making."""
IMAGES_A_JOB = 16
CROPS_A_CPU = 128
"""Most crops in a batch on a CPU, where one thread computes a batch; larger ones would only take more memory."""

Sample = tuple[Entry, bytes]


@dataclass(frozen=True)
class Inputs:
    """What the tower takes at once.

    Attributes:
        entries: the manifest's rows of N images that could be read.
        pixels: their centre crop and then V random views, preprocessed [N, 1 + V, 3, H, W].
        tokens: ids of their captions [N, L]; None for evaluation features.
        unreadable: how many images of the batch could not be read.
    """

    entries: Sequence[Entry]
    pixels: Tensor
    tokens: Tensor | None
    unreadable: int


class Loader:
    """Turns samples into batches for one tower, with `workers` threads.

    A batch has `params.batch_size` crops, on a CPU `CROPS_A_CPU` at most; with views these are fewer images.
    `BATCHES_AHEAD + 1` batches of pixels and the encoded images of two more are in memory at most, whatever
    the tar holds.
    """

    def __init__(
        self, backbone: Backbone, meta: FeatureMeta, params: FeaturesParams, *, workers: int, phases: Phases
    ) -> None:
        self._max_pixels, self._workers, self._phases = params.max_pixels, workers, phases
        crops = params.batch_size if backbone.device.type == "cuda" else min(params.batch_size, CROPS_A_CPU)
        self._size = max(1, crops // (1 + meta.views))
        self._crops = _crops(backbone, meta)
        self._shape = self._crops("", Image.new("RGB", (1, 1))).shape
        self._tokenize = backbone.tokenize if meta.kind == "training" else None
        self._pin = backbone.device.type == "cuda"

    def batches(self, samples: Iterable[Sample]) -> Generator[Inputs]:
        """Batches in the order of the samples, whose errors are raised here; close the generator to stop early."""
        pending: deque[_Decoding] = deque()
        with (
            pool(self._workers, torch_threads_each=1) as threads,
            closing(prefetch(self._read(samples), depth=1)) as batches,
        ):
            for batch, tokens in batches:
                pending.append(self._start(threads, batch, tokens))
                if len(pending) > BATCHES_AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()

    def decode(self, samples: Sequence[Sample], pixels: Tensor) -> list[bool]:
        """Decode and preprocess images into `pixels` [N, 1 + V, 3, H, W]; says which of them could be read."""
        readable = []
        with self._phases("decode"):
            for (entry, data), out in zip(samples, pixels, strict=True):
                try:
                    out.copy_(self._crops(entry.key, images.decode(data, self._max_pixels)))
                except InvalidData:
                    readable.append(False)
                else:
                    readable.append(True)
        return readable

    def _read(self, samples: Iterable[Sample]) -> Iterator[tuple[list[Sample], Tensor | None]]:
        iterator = iter(samples)
        while True:
            with self._phases("read"):
                batch = list(islice(iterator, self._size))
                if not batch:
                    return
                tokens = self._tokenize([entry.caption or "" for entry, _ in batch]) if self._tokenize else None
            yield batch, tokens

    def _start(self, pool: ThreadPoolExecutor, batch: list[Sample], tokens: Tensor | None) -> _Decoding:
        crops, channels, height, width = self._shape
        # Channels last in memory, as towers take them: then the decoders turn images round, and not the tower's thread.
        pixels = torch.empty((len(batch), crops, height, width, channels), pin_memory=self._pin).movedim(-1, 2)
        step = max(1, min(IMAGES_A_JOB, self._size // self._workers))
        jobs = [
            pool.submit(self.decode, batch[start : start + step], pixels[start : start + step])
            for start in range(0, len(batch), step)
        ]
        return _Decoding([entry for entry, _ in batch], pixels, tokens, jobs)


@dataclass(frozen=True)
class _Decoding:
    """A batch whose images are being decoded."""

    entries: list[Entry]
    pixels: Tensor
    tokens: Tensor | None
    jobs: list[Future[list[bool]]]

    def result(self) -> Inputs:
        readable = [good for job in self.jobs for good in job.result()]
        if all(readable):
            return Inputs(self.entries, self.pixels, self.tokens, unreadable=0)
        kept = [row for row, good in enumerate(readable) if good]
        return Inputs(
            [self.entries[row] for row in kept],
            self.pixels[kept],
            None if self.tokens is None else self.tokens[kept],
            unreadable=len(readable) - len(kept),
        )


def _crops(backbone: Backbone, meta: FeatureMeta) -> Callable[[str, Image.Image], Tensor]:
    """What makes of a key and its image the centre crop and then the views, [1 + V, 3, H, W]."""
    whole, scale = squash(backbone.model), meta.view_scale

    def crops(key: str, image: Image.Image) -> Tensor:
        views = [view(image, key, number, scale, whole) for number in range(meta.views)] if scale else []
        return torch.stack([backbone.preprocess(image), *views])

    return crops

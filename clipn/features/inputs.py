"""From a tar to batches of crops, made ahead of the tower that takes them.

One thread finds the images in the tar and turns captions into token ids; threads or processes decode.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from clipn.config import FeaturesParams
from clipn.data import manifest, verified
from clipn.data.manifest import Entry
from clipn.data.verified import Located
from clipn.errors import InvalidData
from clipn.features import crops
from clipn.features.crops import Crops
from clipn.features.decode import Decoded, Job, Processes, in_threads
from clipn.features.encode import Inputs
from clipn.features.lookup import Images
from clipn.features.rows import FeatureMeta
from clipn.models.backbone import Backbone
from clipn.utils.progress import Phases
from clipn.utils.threads import prefetch

BATCHES_AHEAD = 2
"""Batches that are decoded while the tower has another: one may wait, one more is in the making."""
IMAGES_A_JOB = 16
CROPS_A_CPU = 128
"""Most crops in a batch on a CPU, where one thread computes a batch; larger ones would only take more memory."""


class Loader:
    """Turns images of tars into batches for one tower, with `workers` threads or processes.

    A batch has `params.batch_size` crops, on a CPU `CROPS_A_CPU` at most; with views these are fewer images.
    `BATCHES_AHEAD + 1` batches of crops are in memory at most, whatever the tar holds; processes have two jobs each
    at least.

    Processes start with the first batch, and are kept for the next tar until the loader is closed.

    Args:
        backbone: the tower.
        meta: of the features.
        params: size of a batch, and of images.
        workers: number of threads or processes.
        processes: whether processes decode; None for those where the tower is on a GPU. On a CPU they would take
            the cores from the tower, and starting them takes longer than a small shard.
    """

    def __init__(
        self,
        backbone: Backbone,
        meta: FeatureMeta,
        params: FeaturesParams,
        *,
        workers: int,
        processes: bool | None = None,
    ) -> None:
        on_cpu = backbone.device.type == "cpu"
        self._size = max(1, (min(params.batch_size, CROPS_A_CPU) if on_cpu else params.batch_size) // (1 + meta.views))
        self._step = max(1, min(IMAGES_A_JOB, self._size // workers))
        self._tokenize = backbone.tokenize if meta.kind == "training" else None
        self._pin = backbone.device.type == "cuda"
        decoder = crops.decoder(backbone, params.max_pixels, meta.views, meta.view_scale)
        ahead = BATCHES_AHEAD * -(-self._size // self._step)
        self._processes = (
            Processes(decoder, workers, ahead) if (not on_cpu if processes is None else processes) else None
        )
        self._decode = (
            partial(in_threads, decoder, workers=workers, ahead=ahead)
            if self._processes is None
            else self._processes.decode
        )

    def close(self) -> None:
        """End the processes, if there are some."""
        if self._processes is not None:
            self._processes.close()

    def batches(self, images: Iterable[Located], phases: Phases) -> Generator[Inputs]:
        """Batches in the order of the images; close the generator to stop early.

        Args:
            images: in the order of their places in the tar.
            phases: told how long reading and decoding took, over all workers.

        Raises:
            InvalidData: a tar does not hold an image that its manifest lists; and whatever `images` raises.
            WorkerLost: a process that decodes ended by itself.
        """
        begun: deque[tuple[list[Located], Tensor | None]] = deque()
        with closing(prefetch(self._read(images, phases), depth=1)) as read:

            def jobs() -> Iterator[Job]:
                for batch, tokens in read:
                    begun.append((batch, tokens))
                    yield from (batch[start : start + self._step] for start in range(0, len(batch), self._step))

            with closing(self._decode(jobs())) as decoded:
                for first in decoded:
                    batch, tokens = begun.popleft()
                    parts = [first, *islice(decoded, -(-len(batch) // self._step) - 1)]
                    for part in parts:
                        phases.add("decode", part.seconds)
                    yield self._joined([image.entry for image in batch], tokens, parts)

    def _read(self, images: Iterable[Located], phases: Phases) -> Iterator[tuple[list[Located], Tensor | None]]:
        iterator = iter(images)
        while True:
            with phases("read"):
                batch = list(islice(iterator, self._size))
                if not batch:
                    return
                captions = [image.entry.caption or "" for image in batch]
                tokens = self._tokenize(captions) if self._tokenize else None
            yield batch, tokens

    def _joined(self, entries: list[Entry], tokens: Tensor | None, parts: list[Decoded]) -> Inputs:
        """The batch that jobs made, where a copy to the GPU can begin without waiting."""
        kept = [row for row, good in enumerate(good for part in parts for good in part.readable) if good]
        filled = [part.crops for part in parts if len(part.crops)]
        shape = filled[0].shape[1:] if filled else (0,)
        pixels = torch.empty((len(kept), *shape), dtype=torch.uint8, pin_memory=self._pin)
        if filled:
            torch.cat(filled, out=pixels)
        return Inputs(
            [entries[row] for row in kept],
            pixels,
            None if tokens is None else tokens[kept],
            unreadable=len(entries) - len(kept),
        )


def read_crops(images: Images, keys: Sequence[str], clip: Backbone, max_pixels: int, workers: int = 1) -> Crops:
    """Return the centre crops of some images [N, H, W, 3], in the order of `keys`, which may repeat.

    Args:
        images: of which the features are known.
        keys: of those that are read.
        clip: the backbone whose crops they are.
        max_pixels: larger images are refused.
        workers: threads that decode; processes if there are several and the tower is on a GPU.

    Raises:
        MissingInput, InvalidData: as `Images.entries` and `Images.decoded`.
        WorkerLost: a process that decodes ended by itself.
    """
    rows = manifest.by_shard(images.entries(set(keys)).values())
    located = [place for shard, entries in rows.items() for place in verified.locate(images.shards / shard, entries)]
    jobs = [located[start : start + IMAGES_A_JOB] for start in range(0, len(located), IMAGES_A_JOB)]
    decoder = crops.decoder(clip, max_pixels)
    found: dict[str, Crops] = {}
    with closing(Processes(decoder, workers, 2 * workers)) as processes:
        decoded = (
            processes.decode(jobs)
            if workers > 1 and clip.device.type != "cpu"
            else in_threads(decoder, jobs, workers, 2 * workers)
        )
        for job, part in zip(jobs, decoded, strict=True):
            if not all(part.readable):
                image = job[part.readable.index(False)]
                raise InvalidData(
                    f"{image.tar}: the image {image.entry.key} cannot be decoded any more, or has more than "
                    f"features.max_pixels = {max_pixels}; make the features again with 'dvc repro'"
                )
            found.update(zip((image.entry.key for image in job), part.crops[:, 0].numpy(), strict=True))
    return np.stack([found[key] for key in keys])

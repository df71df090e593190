"""Images decoded side by side, in threads or in processes, in their order.

Pillow gives other threads their turn while it decodes and resizes, but no more than a few cores are busy
then: the rest of the work holds the interpreter's lock. So where a GPU waits for the crops, processes make
them. torch's DataLoader runs these, and webdataset's loader is made on it. Each reads its images from the
tar itself, and crops come back through shared memory.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from webdataset import WebLoader

from clipn.data.verified import Located
from clipn.errors import ClipnError, InvalidData, WorkerLost
from clipn.features.crops import Decoder
from clipn.utils import processes, threads

Job = Sequence[Located]
"""Images that one thread or process decodes one after the other."""


@dataclass(frozen=True)
class Decoded:
    """What became of a job.

    Attributes:
        crops: of the images that could be read, uint8 [N, 1 + V, H, W, 3].
        readable: which of the images these are.
        seconds: how long it took.
    """

    crops: Tensor
    readable: list[bool]
    seconds: float


def decode(decoder: Decoder, job: Job) -> Decoded:
    """Read, verify and decode the images of a job.

    Raises:
        InvalidData: a tar does not hold the image that the manifest lists.
    """
    start, crops, readable = time.perf_counter(), [], []
    for image in job:
        data = image.read()
        try:
            crops.append(decoder(image.entry.key, data))
        except InvalidData:
            readable.append(False)
        else:
            readable.append(True)
    pixels = torch.from_numpy(np.stack(crops)) if crops else torch.empty(0, dtype=torch.uint8)
    return Decoded(pixels, readable, time.perf_counter() - start)


def in_threads(decoder: Decoder, jobs: Iterable[Job], workers: int, ahead: int) -> Generator[Decoded]:
    """Yield what becomes of jobs, in their order, from `workers` threads.

    Close the generator to stop early.

    Args:
        decoder: makes the crops.
        jobs: taken in the thread of the caller.
        workers: number of threads.
        ahead: jobs that are begun or done while the caller has another.

    Raises:
        InvalidData: as `decode`.
    """
    pending: deque[Future[Decoded]] = deque()
    with threads.pool(workers, torch_threads_each=1) as pool:
        for job in jobs:
            pending.append(pool.submit(decode, decoder, job))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


class Processes:
    """Processes that decode. They start with the first jobs, wait for the next ones, and end with `close`.

    Args:
        decoder: makes the crops.
        workers: number of processes.
        ahead: as `in_threads` takes it; but at least two jobs wait for each process.
    """

    def __init__(self, decoder: Decoder, workers: int, ahead: int) -> None:
        self._decoder, self._workers, self._ahead = decoder, workers, ahead
        self._jobs = _Jobs()
        self._loader: WebLoader | None = None

    def decode(self, jobs: Iterable[Job]) -> Generator[Decoded]:
        """Yield what becomes of jobs, as `in_threads` does. If it does not come to its end, the processes end.

        Raises:
            InvalidData: as `decode`; and whatever `jobs` raises.
            WorkerLost: a process ended by itself.
        """
        self._jobs.current, self._jobs.error = jobs, None
        self._loader = self._loader or self._start()
        complete, results = False, iter(self._loader)
        try:
            while (result := self._next(results)) is not None:
                if isinstance(result, ClipnError):
                    raise result
                yield result
            if self._jobs.error is not None:
                raise self._jobs.error
            complete = True
        finally:
            if not complete:
                self.close()

    def close(self) -> None:
        """End the processes now. Otherwise they would live as long as any traceback that their loader is part of."""
        iterator = self._loader and self._loader.pipeline[0]._iterator
        self._loader = None
        if iterator is not None:
            iterator._shutdown_workers()

    def _start(self) -> WebLoader:
        # This process has threads and perhaps a GPU, so it is not forked, but a server that has neither. The server
        # imports this module once for all workers, and lives as long as this process.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        return WebLoader(
            _Decoding(self._decoder),
            sampler=self._jobs,
            batch_size=None,
            num_workers=self._workers,
            prefetch_factor=max(2, math.ceil(self._ahead / self._workers)),
            multiprocessing_context=context,
            worker_init_fn=_begin,
            persistent_workers=True,
            generator=torch.Generator(),  # the seeds of the workers, which need none, would move torch's own otherwise
        )

    def _next(self, results: Iterator[Decoded | ClipnError]) -> Decoded | ClipnError | None:
        try:
            return next(results, None)
        except (RuntimeError, ConnectionError, EOFError) as error:
            # The last two come when a process ended while its result was on the way.
            if isinstance(error, RuntimeError) and "exited unexpectedly" not in str(error):
                raise
            raise WorkerLost(
                f"one of the {self._workers} processes that decode images was killed, most often because memory ran "
                f"out: {error}. Set CLIPN_WORKERS to fewer, or features.batch_size to less; in a container, check the "
                "size of /dev/shm too"
            ) from error


class _Jobs:
    """What the loader takes for a sampler: the jobs that are to be done now.

    An error among them is kept until all before it are done. Within the loader it could leave processes behind.
    """

    def __init__(self) -> None:
        self.current: Iterable[Job] = ()
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[Job]:
        try:
            yield from self.current
        except Exception as error:
            self.error = error


@dataclass(frozen=True)
class _Decoding(Dataset[Decoded | ClipnError]):
    """What a process does: for the loader a data set, whose "index" is a job."""

    decoder: Decoder

    def __getitem__(self, job: Job) -> Decoded | ClipnError:
        try:
            return decode(self.decoder, job)
        except ClipnError as error:  # an exception would come with the process's traceback as its message
            return error


def _begin(worker: int) -> None:
    """Let a process end with its parent however that ends, and leave an interrupt from the keyboard to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    processes.at_parents_end(partial(os._exit, 1), parent.join)

"""Shuffled batches of training pairs, read from feature shards without holding them all.

An epoch draws the row groups of all shards in a random order, fills a pool of some hundred thousand
rows from them, and draws the pool's rows in a random order; then it fills the next pool. What a batch
holds depends on the seed, the epoch and the position in it alone: every process reads every pool and
takes its own part of each batch, so the number of processes changes nothing, and shards of any number
and size are divided evenly. Reading is cheap beside training: a pass over CC3M's 6 GB takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipn.features.store import FeatureStore, RowGroup, unit_norm
from clipn.features.tokens import TokenLists
from clipn.models.packing import Packed
from clipn.prompts.paired import PairedTokens
from clipn.training.step_log import per_epoch
from clipn.utils.memory import release_free_blocks
from clipn.utils.threads import prefetch

WAITING_BATCHES = 4
# Streams of random numbers that must not meet although they share seed and epoch.
GROUPS, ROWS, PROMPTS, VIEWS = range(4)


@dataclass(frozen=True)
class Batch:
    """What one step of one process sees; b of the batch's B pairs.

    Attributes:
        keys: sample keys, for messages.
        images: unit-norm image features [b, D], float32.
        texts: unit-norm "yes" features [b, D], float32; None where the caption's "yes" sentence is drawn.
        yes_tokens: that sentence, as `tokens`; None where `texts` are given.
        tokens: what the "No" text encoder reads: token ids [b, L] padded with 0, or as the stream packs them.
        prompts: which no-prompt each caption takes, [b]; n_prompts stands for the mean. None without prompts.
    """

    keys: pa.ChunkedArray
    images: Tensor
    texts: Tensor | None
    yes_tokens: Tensor | Packed | None
    tokens: Tensor | Packed
    prompts: Tensor | None


@dataclass(frozen=True)
class Draws:
    """What is drawn for each caption besides its place.

    Attributes:
        n_prompts: learnable prompts.
        mean: whether their mean may be drawn too.
        pairs: the templates of the hand-crafted variant, which has no prompts.
        context_length: the most tokens of a sentence that is put together from them.
    """

    n_prompts: int = 0
    mean: bool = False
    pairs: PairedTokens | None = None
    context_length: int = 77


@dataclass(frozen=True)
class _Pool:
    """Rows that are shuffled together, and where they stand in the epoch's order."""

    start: int
    keys: pa.ChunkedArray
    image: NDArray[np.float16]
    text: NDArray[np.float16] | None
    tokens: TokenLists
    views: NDArray[np.float16] | None
    order: NDArray[np.int64]

    @property
    def end(self) -> int:
        return self.start + len(self.order)


class PairStream:
    """Endless epochs of training pairs.

    Args:
        store: training features.
        batch_size: pairs of a step over all processes; the last, incomplete batch of an epoch is left out.
        seed: of the training run.
        draws: what is drawn for each caption.
        shuffle_rows: rows in memory that are shuffled together.
        rank, size: which of how many processes this is; `batch_size` has to be a multiple of `size`.
        pack: what makes of token ids [b, L] the texts without padding; None leaves it to the encoder.

    Raises:
        InvalidParams: the store has not even one batch.
    """

    def __init__(
        self,
        store: FeatureStore,
        *,
        batch_size: int,
        seed: int,
        draws: Draws,
        shuffle_rows: int,
        rank: int = 0,
        size: int = 1,
        pack: Callable[[Tensor], Packed] | None = None,
    ) -> None:
        self._pack = pack or _as_they_are
        self._store, self._groups = store, store.row_groups()
        self._batch_size, self._seed, self._draws, self._shuffle_rows = batch_size, seed, draws, shuffle_rows
        share = batch_size // size
        self._columns = ["tokens", *(["text"] if draws.pairs is None else []), *(["views"] if store.meta.views else [])]
        self._mine = slice(rank * share, (rank + 1) * share)
        self.steps_per_epoch = per_epoch(len(store), batch_size)

    def batches(self, start: int = 0, *, pin: bool = False) -> Generator[Batch]:
        """Batches from step `start` on; reading, shuffling, gathering and packing run ahead in threads.

        Args:
            start: steps to skip; nothing of what they hold is read.
            pin: put tensors into page-locked memory, from which a GPU copies while it computes.

        Raises:
            InvalidData: a shard is damaged.
        """
        batches = self._endless(start)
        return prefetch((_pinned(batch) for batch in batches) if pin else batches, WAITING_BATCHES)

    def _endless(self, start: int) -> Iterator[Batch]:
        epoch, step = divmod(start, self.steps_per_epoch)
        while True:
            yield from self._epoch(epoch, step)
            epoch, step = epoch + 1, 0

    def _epoch(self, epoch: int, step: int) -> Iterator[Batch]:
        """Yield the batches of one epoch from its step `step` on."""
        parts: list[_Rows] = []
        position = step * self._batch_size + self._mine.start
        last = (self.steps_per_epoch - 1) * self._batch_size + self._mine.stop
        missing = self._mine.stop - self._mine.start
        with closing(prefetch(self._pools(epoch, position), 1)) as pools:
            for pool in pools:
                while position < min(pool.end, last):
                    rows = pool.order[position - pool.start : position - pool.start + missing]
                    parts.append(_Rows(pool, rows))
                    position += len(rows)
                    missing -= len(rows)
                    if missing:  # the rest of this batch comes from the next pool
                        break
                    yield self._batch(parts, epoch, step)
                    parts, step, missing = [], step + 1, self._mine.stop - self._mine.start
                    position = step * self._batch_size + self._mine.start
                if position >= last:
                    break
                release_free_blocks()
        release_free_blocks()

    def _pools(self, epoch: int, position: int) -> Iterator[_Pool]:
        """Yield the pools of one epoch, from the one that holds `position` on."""
        drawn = [self._groups[i] for i in self._rng(GROUPS, epoch).permutation(len(self._groups))]
        start = 0
        for number, groups in enumerate(_filled(drawn, self._shuffle_rows)):
            rows = sum(group.rows for group in groups)
            if start + rows > position:
                read = [self._store.read(group, self._columns) for group in groups]
                yield _Pool(
                    start=start,
                    keys=pa.chunked_array([batch.keys for batch in read], pa.string()),
                    image=np.concatenate([batch.image for batch in read]),
                    text=_joined([batch.text for batch in read]),
                    tokens=TokenLists.concatenate([batch.tokens for batch in read if batch.tokens is not None]),
                    views=_joined([batch.views for batch in read]),
                    order=self._rng(ROWS, epoch, number).permutation(rows),
                )
            start += rows

    def _batch(self, parts: list[_Rows], epoch: int, step: int) -> Batch:
        draws, pairs = self._draws, self._draws.pairs
        captions = _padded([part.pool.tokens.padded(part.rows) for part in parts])
        common = {
            "keys": pa.chunked_array([c for part in parts for c in part.keys().chunks], pa.string()),
            "images": torch.from_numpy(self._images(parts, epoch, step)),
        }
        if pairs is not None:
            drawn = torch.from_numpy(self._draw(PROMPTS, epoch, step, len(pairs)))
            yes, no = pairs.join(captions, drawn, draws.context_length)
            return Batch(**common, texts=None, yes_tokens=self._pack(yes), tokens=self._pack(no), prompts=None)
        texts = np.concatenate([part.pool.text[part.rows] for part in parts if part.pool.text is not None])
        choices = draws.n_prompts + int(draws.mean)
        prompts = torch.from_numpy(self._draw(PROMPTS, epoch, step, choices)) if choices else None
        features = torch.from_numpy(unit_norm(texts))
        return Batch(**common, texts=features, yes_tokens=None, tokens=self._pack(captions), prompts=prompts)

    def _images(self, parts: list[_Rows], epoch: int, step: int) -> NDArray[np.float32]:
        if parts[0].pool.views is None:
            return unit_norm(np.concatenate([part.pool.image[part.rows] for part in parts]))
        drawn = self._draw(VIEWS, epoch, step, parts[0].pool.views.shape[1])
        rows = np.split(drawn, np.cumsum([len(part.rows) for part in parts])[:-1])
        views = [part.pool.views[part.rows, view] for part, view in zip(parts, rows, strict=True)]  # type: ignore[index]
        return unit_norm(np.concatenate(views))

    def _draw(self, stream: int, epoch: int, step: int, choices: int) -> NDArray[np.int64]:
        """Draw for the whole batch, so that all processes agree, and return this process's part [b]."""
        return self._rng(stream, epoch, step).integers(choices, size=self._batch_size)[self._mine]

    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, *stream])


@dataclass(frozen=True)
class _Rows:
    """Rows of a pool."""

    pool: _Pool
    rows: NDArray[np.int64]

    def keys(self) -> pa.ChunkedArray:
        return self.pool.keys.take(pa.array(self.rows))


def _filled(groups: Sequence[RowGroup], rows: int) -> Iterator[list[RowGroup]]:
    """Yield consecutive groups, as many together as hold at least `rows` rows."""
    pool: list[RowGroup] = []
    for group in groups:
        pool.append(group)
        if sum(member.rows for member in pool) >= rows:
            yield pool
            pool = []
    if pool:
        yield pool


def _joined(parts: Sequence[NDArray[np.float16] | None]) -> NDArray[np.float16] | None:
    present = [part for part in parts if part is not None]
    return np.concatenate(present) if present else None


def _padded(parts: Sequence[NDArray[np.int64]]) -> Tensor:
    """Token ids of several pools [b, L], padded with 0 to the longest."""
    longest = max(part.shape[1] for part in parts)
    return torch.from_numpy(np.concatenate([np.pad(part, ((0, 0), (0, longest - part.shape[1]))) for part in parts]))


def _as_they_are(tokens: Tensor) -> Tensor:
    return tokens


def _pinned(batch: Batch) -> Batch:
    pinned = {
        name: value.map(Tensor.pin_memory) if isinstance(value, Packed) else value.pin_memory()
        for name, value in vars(batch).items()
        if isinstance(value, Tensor | Packed)
    }
    return Batch(**{**vars(batch), **pinned})

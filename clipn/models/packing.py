"""Texts without their padding: the tokens of a batch one after the other, and what attention has to know of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BLOCK = 128
"""Tokens in a block of FlexAttention's mask, which its kernels divide."""
SHAPES_AN_OCTAVE = 16
"""How finely the padded number of tokens is stepped. Batches of 2,048 captions differ by less than a step, so they
have one shape or two; at most a sixteenth, on average half of that, is computed in vain."""


@dataclass(frozen=True)
class Blocks:
    """Which blocks of tokens attend to which; T tokens in R = T / `BLOCK` blocks.

    Texts lie one after the other and attention is causal, so a block of queries needs the blocks from the one in
    which its first token's text begins up to itself. No mask [T, T] is ever made.

    Attributes:
        text: number of the text of each token, -1 for padding at the end, int32 [T].
        kv_count: for each block of queries the number of blocks of keys [1, 1, R], int32.
        kv_index: which these are, in order [1, 1, R, R]; entries beyond the count mean nothing.
        q_count, q_index: the same from the side of the keys, for the backward pass.
    """

    text: Tensor
    kv_count: Tensor
    kv_index: Tensor
    q_count: Tensor
    q_index: Tensor

    @classmethod
    def of(cls, text: NDArray[np.integer], starts: NDArray[np.integer]) -> Blocks:
        """Return the blocks of tokens of which each is of a text [T] that starts at a token [T]; T is a multiple."""
        block = np.arange(len(text) // BLOCK)
        first = starts[block * BLOCK] // BLOCK
        # `first` never falls, so the queries that need a block of keys are a run too.
        last = np.searchsorted(first, block, side="right") - 1
        return cls(
            torch.from_numpy(text.astype(np.int32)),
            *_run(first, block - first + 1),
            *_run(block, last - block + 1),
        )


@dataclass(frozen=True)
class Packed:
    """Texts without their padding; T tokens of B texts, sorted by length.

    Attributes:
        ids: token ids [T].
        positions: of each token in its text [T].
        rows: which text of the batch each token is of [T].
        last: the end token of each text of the batch, as a place among the T [B].
        groups: (texts, length) of each run of equal length, in order.
        blocks: for one call of attention over all texts; None for one call a group. With blocks T is padded, with
            tokens of no text that nothing reads.
    """

    ids: Tensor
    positions: Tensor
    rows: Tensor
    last: Tensor
    groups: tuple[tuple[int, int], ...]
    blocks: Blocks | None = None

    @classmethod
    def of(cls, tokens: Tensor, ends: Tensor, blocks: bool = False) -> Packed:
        """Pack token ids [B, L] whose end tokens are at `ends` [B]; both are on the CPU, and so is what is returned."""
        ids, lengths = tokens.numpy(), ends.numpy() + 1
        order = np.argsort(lengths, kind="stable")
        ordered = lengths[order]
        stops = np.cumsum(ordered)
        text = np.repeat(np.arange(len(ordered)), ordered)
        starts = (stops - ordered)[text]
        positions = np.arange(len(text)) - starts
        last = np.empty_like(stops)
        last[order] = stops - 1
        unique, counts = np.unique(ordered, return_counts=True)
        token_ids, rows, runs = ids[order[text], positions], order[text], None
        if blocks:
            extra = padded_size(len(text)) - len(text)
            token_ids, positions, rows = (np.pad(values, (0, extra)) for values in (token_ids, positions, rows))
            text = np.pad(text, (0, extra), constant_values=-1)
            runs = Blocks.of(text, np.concatenate([starts, np.arange(len(starts), len(text))]))
        tensors = (torch.from_numpy(values) for values in (token_ids, positions, rows, last))
        return cls(*tensors, groups=tuple(zip(counts.tolist(), unique.tolist(), strict=True)), blocks=runs)  # type: ignore[arg-type, misc]

    def __len__(self) -> int:
        return len(self.last)

    def map(self, function: Callable[[Tensor], Tensor]) -> Packed:
        """Return the same texts with `function` applied to every tensor, such as its way to another device."""
        blocks = None if self.blocks is None else Blocks(*(function(value) for value in vars(self.blocks).values()))
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors = {name: function(value) for name, value in values.items() if isinstance(value, Tensor)}
        return Packed(**{**values, **tensors, "blocks": blocks})


def padded_size(tokens: int) -> int:
    """Return the least of the sizes that hold so many tokens; every size is a multiple of `BLOCK`."""
    step = max(BLOCK, 2 ** (tokens.bit_length() - 1) // SHAPES_AN_OCTAVE)
    return -(-tokens // step) * step


def _run(first: NDArray[np.integer], count: NDArray[np.integer]) -> tuple[Tensor, Tensor]:
    """Return count [1, 1, R] and index [1, 1, R, R] of runs of blocks."""
    blocks = len(first)
    index = np.minimum(first[:, None] + np.arange(blocks), blocks - 1)
    return tuple(torch.from_numpy(values.astype(np.int32))[None, None] for values in (count, index))  # type: ignore[return-value]

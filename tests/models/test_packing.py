"""Texts without their padding, and the blocks of tokens that attend to each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clipn.models.packing import BLOCK, Packed, padded_size

START, END = 49406, 49407


def tokens_of(*lengths: int) -> torch.Tensor:
    """Texts of so many tokens; the ids between start and end are counted through."""
    rows = np.zeros((len(lengths), max(lengths)), np.int64)
    for row, length in zip(rows, lengths, strict=True):
        row[:length] = [START, *range(1, length - 1), END]
    return torch.from_numpy(rows)


def packed_of(*lengths: int, blocks: bool = False) -> Packed:
    return Packed.of(tokens_of(*lengths), torch.tensor(lengths) - 1, blocks)


def test_packing_by_hand() -> None:
    packed = packed_of(4, 3, 4)
    assert packed.ids.tolist() == [START, 1, END, START, 1, 2, END, START, 1, 2, END]
    assert packed.positions.tolist() == [0, 1, 2, 0, 1, 2, 3, 0, 1, 2, 3]
    assert packed.rows.tolist() == [1, 1, 1, 0, 0, 0, 0, 2, 2, 2, 2]  # the shortest first, equal ones as they came
    assert packed.last.tolist() == [6, 2, 10]
    assert packed.groups == ((1, 3), (2, 4))
    assert len(packed) == 3


def test_blocks_by_hand() -> None:
    """Texts of 100, 100 and 60 tokens in three blocks of 128: the second text begins in block 0 and ends in block 1."""
    packed = packed_of(100, 60, 100, blocks=True)
    assert len(packed.ids) == 3 * BLOCK
    assert packed.blocks is not None
    assert packed.blocks.text.tolist() == [0] * 60 + [1] * 100 + [2] * 100 + [-1] * 124
    assert packed.blocks.kv_count.flatten().tolist() == [1, 2, 2]
    index = packed.blocks.kv_index[0, 0]
    assert (index[0, 0].item(), index[1, :2].tolist(), index[2, :2].tolist()) == (0, [0, 1], [1, 2])
    assert packed.blocks.q_count.flatten().tolist() == [2, 2, 1]
    index = packed.blocks.q_index[0, 0]
    assert (index[0, :2].tolist(), index[1, :2].tolist(), index[2, 0].item()) == ([0, 1], [1, 2], 2)
    assert packed.last.tolist() == [159, 59, 259]


def test_a_text_may_be_longer_than_a_block() -> None:
    packed = packed_of(300, blocks=True)
    assert packed.blocks is not None
    assert packed.blocks.kv_count.flatten().tolist() == [1, 2, 3]
    assert packed.blocks.q_count.flatten().tolist() == [3, 2, 1]


@pytest.mark.parametrize(
    ("tokens", "size"),
    [
        (1, 128),
        (128, 128),
        (129, 256),
        (2048, 2048),
        (2049, 2176),
        (27_000, 27_648),
        (27_648, 27_648),
        (27_649, 28_672),
    ],
)
def test_padded_sizes(tokens: int, size: int) -> None:
    assert padded_size(tokens) == size


def test_at_most_a_sixteenth_is_padding() -> None:
    for tokens in range(2048, 70_000, 97):
        assert 0 <= padded_size(tokens) - tokens < max(BLOCK, tokens / 16)
        assert padded_size(tokens) % BLOCK == 0


def test_map_reaches_every_tensor() -> None:
    moved = packed_of(4, 3, blocks=True).map(lambda tensor: tensor + 1)
    original = packed_of(4, 3, blocks=True)
    for name in ("ids", "positions", "rows", "last"):
        assert torch.equal(getattr(moved, name), getattr(original, name) + 1)
    assert moved.blocks is not None
    assert original.blocks is not None
    for name, value in vars(moved.blocks).items():
        assert torch.equal(value, getattr(original.blocks, name) + 1)
    assert moved.groups == original.groups

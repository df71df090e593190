"""Lists of token ids without an object for each."""

from __future__ import annotations

import numpy as np
import pytest

from clipn.features.tokens import TokenLists

ROWS = [[1, 2, 3], [], [4, 5], [6]]
LISTS = TokenLists.of([np.array(row, np.int32) for row in ROWS])


def test_rows_come_back() -> None:
    assert len(LISTS) == 4
    assert [row.tolist() for row in LISTS] == ROWS
    assert LISTS[2].tolist() == [4, 5]
    assert LISTS.lengths.tolist() == [3, 0, 2, 1]
    assert (LISTS.values.dtype, LISTS.offsets.dtype) == (np.int32, np.int64)
    for row in (-1, 4):
        with pytest.raises(IndexError):
            LISTS[row]


def test_padded_is_as_wide_as_its_longest_row() -> None:
    padded = LISTS.padded(np.array([3, 2, 1, 3]))
    assert padded.dtype == np.int64
    assert padded.tolist() == [[6, 0], [4, 5], [0, 0], [6, 0]]
    assert LISTS.padded(np.array([1])).shape == (1, 0)
    assert LISTS.padded(np.empty(0, np.int64)).shape == (0, 0)


def test_take_keeps_the_order_asked_for() -> None:
    taken = LISTS.take(np.array([2, 0, 1, 2]))
    assert [row.tolist() for row in taken] == [[4, 5], [1, 2, 3], [], [4, 5]]
    assert len(LISTS.take(np.empty(0, np.int64))) == 0


def test_concatenate() -> None:
    joined = TokenLists.concatenate([LISTS, TokenLists.of([]), LISTS.take(np.array([3]))])
    assert [row.tolist() for row in joined] == [*ROWS, [6]]
    assert len(TokenLists.concatenate([])) == 0

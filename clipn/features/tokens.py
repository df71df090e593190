"""Token ids of many texts, without a Python object for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class TokenLists:
    """N lists of token ids, one behind the other.

    Attributes:
        values: the T ids of all lists, int32 [T].
        offsets: where each list starts, and T at the end, int64 [N + 1].
    """

    values: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[NDArray[np.integer]]) -> TokenLists:
        """From N arrays of ids."""
        values = np.concatenate([np.empty(0, np.int32), *rows]).astype(np.int32)
        return cls(values, _offsets(np.array([len(row) for row in rows], np.int64)))

    @classmethod
    def concatenate(cls, parts: Sequence[TokenLists]) -> TokenLists:
        """Return the lists of all parts, in order."""
        values = np.concatenate([np.empty(0, np.int32), *(part.values for part in parts)])
        return cls(values, _offsets(np.concatenate([np.empty(0, np.int64), *(part.lengths for part in parts)])))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> NDArray[np.int32]:
        if not 0 <= row < len(self):
            raise IndexError(f"list {row} of {len(self)}")
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[NDArray[np.int32]]:
        return (self[row] for row in range(len(self)))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of ids in each list [N]."""
        return np.diff(self.offsets)

    def padded(self, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the lists of `rows` as a matrix [len(rows), longest of them], filled with 0 on the right."""
        starts, lengths = self.offsets[rows], self.lengths[rows]
        column = np.arange(lengths.max(initial=0))
        inside = column < lengths[:, None]
        out = np.zeros(inside.shape, np.int64)
        out[inside] = self.values[(starts[:, None] + column)[inside]]
        return out

    def take(self, rows: NDArray[np.integer]) -> TokenLists:
        """Return the lists of `rows`, in that order."""
        offsets = _offsets(self.lengths[rows])
        # A list moves as a whole: from where it started to where it starts now.
        moved = np.repeat(self.offsets[rows] - offsets[:-1], np.diff(offsets))
        return TokenLists(self.values[moved + np.arange(offsets[-1])], offsets)


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])

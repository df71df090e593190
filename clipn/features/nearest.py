"""The nearest of many features to some, in bounded memory: the many are streamed and never held together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

QUERIES = 4096
"""Rows of a matrix of cosines, of which one is in memory at a time; its columns are one block of the stream."""


@dataclass(frozen=True)
class Matches:
    """M pairs, sorted by query and then from near to far.

    Attributes:
        query: rows of the queries [M].
        other: numbers of the others [M], counted through all blocks.
        cosine: cosine similarities [M].
    """

    query: NDArray[np.int64]
    other: NDArray[np.int64]
    cosine: NDArray[np.float32]


class Nearest:
    """For each query the `count` nearest of the others that are not below `floor`.

    Cosines are matrix products in float32, so equal vectors may miss 1 by about 1e-6. Most queries have no
    match in most blocks; only those that have one are looked at beyond the largest cosine of their row. Of
    equally near others those of an earlier block are kept; within a block it is left open which.

    Args:
        queries: unit-norm features [N, D].
        floor: the smallest cosine of a match; minus infinity keeps `count` of every query, or all if they are fewer.
        count: matches kept of each query.
        device: where the products are computed.

    Attributes:
        seen: number of others looked at.
    """

    def __init__(self, queries: NDArray[np.float32], floor: float, count: int, device: str | torch.device) -> None:
        self._queries = torch.from_numpy(queries).to(device)
        self._floor = floor
        shape = (len(queries), count)
        self._cosine = torch.full(shape, -torch.inf, device=self._queries.device)
        self._other = torch.full(shape, -1, dtype=torch.int64, device=self._queries.device)
        self.seen = 0

    def look(self, others: NDArray[np.float32] | torch.Tensor) -> None:
        """Compare with one more block of unit-norm features [B, D]; a tensor on `device` is not copied."""
        block = torch.as_tensor(others, device=self._queries.device)
        for start in range(0, len(self._queries), QUERIES):
            self._merge(start, self._queries[start : start + QUERIES] @ block.T)
        self.seen += len(others)

    def _merge(self, start: int, cosines: torch.Tensor) -> None:
        """Take over what is nearer than the matches so far. A later one of equal cosine is not."""
        best, other = self._cosine[start : start + QUERIES], self._other[start : start + QUERIES]
        largest = cosines.amax(dim=1)
        rows = ((largest >= self._floor) & (largest > best[:, -1])).nonzero().squeeze(1)
        count = best.shape[1]
        new, index = cosines[rows].topk(min(count, cosines.shape[1]), dim=1)
        new[new < self._floor] = -torch.inf
        both, order = torch.cat([best[rows], new], dim=1).sort(dim=1, descending=True, stable=True)
        numbers = torch.cat([other[rows], index + self.seen], dim=1).gather(1, order)
        best[rows], other[rows] = both[:, :count], numbers[:, :count]

    def ranked(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Cosines and numbers of the others, from near to far [N, count]; -inf and any number where there is none."""
        return self._cosine.cpu().numpy(), self._other.cpu().numpy()

    def matches(self) -> Matches:
        """Return what was found in the blocks so far."""
        cosine, other = self.ranked()
        query, rank = np.nonzero((cosine >= self._floor) & (other >= 0))
        return Matches(query, other[query, rank], cosine[query, rank])

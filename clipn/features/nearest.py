"""The nearest of many features to some, in bounded memory: the many are streamed and never held together.

scikit-learn's exact search (`NearestNeighbors`, brute force) takes all features at once, gives them in one go on the
CPU only, and is slower: for the ten nearest of 50,000 x 512 features to 2,048 queries on one thread it takes 2.7 times
as long with cosines, and 1.9 times with Euclidean distances (`python -m benchmarks.neighbours_speed`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from clipn.features import candidates

QUERIES, OTHERS = 4096, 16_384
"""Rows and, at most, columns of a matrix of cosines, of which one is in memory at a time."""
BLOCK = 2**21
"""Others that candidates are chosen from at a time: coarse products of their groups take 1 GB for `QUERIES` queries."""


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
    match in most blocks; only for those that have one is more computed than the largest cosine of their row. Of
    equally near others those of an earlier block are kept; within a block it is left open which.

    On a GPU, products in float16 choose candidates from large blocks, whose cosines are then computed in float32; see
    `clipn.features.candidates`. A query whose matches are not proven to be those of a search in float32 is compared
    with the block again, in float32. Products in float32 of the same two vectors differ by rounding from one shape
    of matrix to another, so others whose cosines differ by less may change places, as they may between devices.

    Args:
        queries: unit-norm features [N, D].
        floor: the smallest cosine of a match; minus infinity keeps `count` of every query, or all if they are fewer.
        count: matches kept of each query.
        device: where the products are computed.
        coarse: precision of the products that choose candidates; None takes float16 on a GPU, and on a CPU, which
            gains nothing by them, compares in float32 alone.

    Attributes:
        seen: number of others compared so far.
        repeated: number of times that a query was compared with a block again, in float32.
    """

    def __init__(
        self,
        queries: NDArray[np.float32],
        floor: float,
        count: int,
        device: str | torch.device,
        coarse: torch.dtype | None = None,
    ) -> None:
        self._queries = torch.from_numpy(queries).to(device)
        on_gpu = self._queries.device.type == "cuda"
        self._coarse = torch.float16 if coarse is None and on_gpu else coarse
        self._floor, self._count = floor, count
        shape = (len(queries), count)
        self._cosine = torch.full(shape, -torch.inf, device=self._queries.device)
        self._other = torch.full(shape, -1, dtype=torch.int64, device=self._queries.device)
        self.seen = self.repeated = 0

    def add(self, others: NDArray[np.float32] | torch.Tensor) -> None:
        """Compare the queries with one more block of unit-norm features [B, D]; a tensor on `device` is not copied."""
        with candidates.full_sums():
            for block in torch.as_tensor(others, device=self._queries.device).split(BLOCK):
                if self._coarse is not None and candidates.worthwhile(len(block), self._count):
                    again = self._choose(block, self._coarse)
                    self.repeated += len(again)
                    for rows in again.split(QUERIES):
                        self._compare(rows, block)
                else:
                    for start in range(0, len(self._queries), QUERIES):
                        self._compare(slice(start, start + QUERIES), block)
                self.seen += len(block)

    def _choose(self, block: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Replace matches by nearer ones of this block where it is proven which; return the rows of other queries."""
        coarse = candidates.rounded(block, dtype)
        largest = torch.linalg.vector_norm(block, dim=1).amax()
        proven = []
        for start in range(0, len(self._queries), QUERIES):
            rows = slice(start, start + QUERIES)
            best, other = self._cosine[rows], self._other[rows]
            chosen = candidates.search(self._queries[rows], block, coarse, largest, self._count)
            cosine, number = self._merged(best, other, chosen.cosine, chosen.index + self.seen)
            # A comparison with NaN is false, so that a broken feature is left to the search in float32.
            enough = (chosen.ceiling < cosine[:, -1].clamp(min=self._floor)) & ~chosen.cosine[:, 0].isnan()
            best[:] = torch.where(enough[:, None], cosine, best)
            other[:] = torch.where(enough[:, None], number, other)
            proven.append(enough)
        return (~torch.cat(proven)).nonzero().squeeze(1)

    def _compare(self, rows: slice | torch.Tensor, block: torch.Tensor) -> None:
        """Replace matches of some queries by nearer ones of this block, in float32."""
        queries, best, other = self._queries[rows], self._cosine[rows], self._other[rows]
        first = self.seen
        for part in block.split(OTHERS):
            cosines = queries @ part.T
            largest = cosines.amax(dim=1)
            better = ((largest >= self._floor) & (largest > best[:, -1])).nonzero().squeeze(1)
            new, index = cosines[better].topk(min(self._count, len(part)), dim=1)
            best[better], other[better] = self._merged(best[better], other[better], new, index + first)
            first += len(part)
        self._cosine[rows], self._other[rows] = best, other

    def _merged(
        self, best: torch.Tensor, other: torch.Tensor, new: torch.Tensor, number: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the nearest of both; one of equal cosine replaces none."""
        new = new.masked_fill(new < self._floor, -torch.inf)
        both, order = torch.cat([best, new], dim=1).sort(dim=1, descending=True, stable=True)
        numbers = torch.cat([other, number], dim=1).gather(1, order)
        return both[:, : self._count], numbers[:, : self._count]

    def ranked(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return cosines and numbers of the others, from near to far, each [N, count].

        Where there are fewer others, the cosine is -inf and the number means nothing.
        """
        return self._cosine.cpu().numpy(), self._other.cpu().numpy()

    def matches(self) -> Matches:
        """Return the matches in all blocks so far."""
        cosine, other = self.ranked()
        query, rank = np.nonzero((cosine >= self._floor) & (other >= 0))
        return Matches(query, other[query, rank], cosine[query, rank])

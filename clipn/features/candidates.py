"""Candidates for the largest inner products among many, from products in half precision, and a bound on what they miss.

A GPU multiplies matrices of float16 many times as fast as those of float32, and float16 keeps as many bits of a number
as TensorFloat32 does. Coarse products choose candidates; their products are then computed in float32. What was not
chosen had a coarse product below that of all candidates, so its product is below that plus the error of a coarse
product. Where the nearest candidates exceed this ceiling, they are those of a search in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

GROUP = 16
"""Others of which one, the largest, stands for all: choosing among groups reads a sixteenth of the products."""
MARGIN = 16
"""Groups chosen beyond the number of the nearest: more raise the costs, fewer raise the ceiling."""
SHARE = 64
"""A search by candidates is for at least so many others a candidate, since fetching one costs more than a product."""
COLUMNS = 2**16
"""Others in a matrix of coarse products, of which one is in memory at a time."""
FETCHED = 2**27
"""Numbers of candidates that are in memory at a time: 512 MB."""


@dataclass(frozen=True)
class Chosen:
    """The `count` nearest among the candidates of each of Q queries.

    Attributes:
        cosine: products in float32, from large to small [Q, count].
        index: rows of the others [Q, count].
        ceiling: no product in float32 with another that was no candidate is larger [Q].
    """

    cosine: Tensor
    index: Tensor
    ceiling: Tensor


def worthwhile(others: int, count: int) -> bool:
    """Return whether there are enough others for a search of the `count` nearest by candidates."""
    return others >= SHARE * GROUP * (count + MARGIN)


def rounded(others: Tensor, dtype: torch.dtype) -> Tensor:
    """Return others [B, D] in the precision of coarse products, with zeros up to a multiple of `GROUP` rows."""
    padded = others.new_zeros((-(-len(others) // GROUP) * GROUP, others.shape[1]), dtype=dtype)
    padded[: len(others)] = others
    return padded


def search(queries: Tensor, others: Tensor, coarse: Tensor, largest: Tensor, count: int) -> Chosen:
    """Return the nearest among the candidates of each query. A GPU is not waited for.

    Args:
        queries: [Q, D], float32.
        others: [B, D], float32, as many as `worthwhile` asks for.
        coarse: what `rounded` gives for them.
        largest: the largest norm of an other.
        count: how many of each query.
    """
    maxima, groups = _group_maxima(queries.to(coarse.dtype), coarse).topk(count + MARGIN, dim=1)
    cosine, index = _nearest(queries, others, groups, count)
    return Chosen(cosine, index, maxima[:, -1].float() + error(queries, largest, coarse.dtype))


def error(queries: Tensor, largest: Tensor, dtype: torch.dtype) -> Tensor:
    """Return how far a coarse product of each query may be from one in float32, whatever the other [Q].

    With the unit roundoff u of `dtype`, rounding moves a vector of norm a by at most u·a, and by the spacing of
    subnormal numbers. By Cauchy and Schwarz two such vectors of unit norm move their product by 2u + u²; the product
    is rounded once more. Sums of D terms in float32 add less than D · 2⁻²² of the norms where a matrix unit
    truncates instead of rounding, and D · 2⁻²⁴ in each of the products in float32 that are compared with it. So unit
    vectors of 512 float16 numbers have an error of at most 0.0018.

    Args:
        queries: [Q, D].
        largest: the largest norm of an other.
        dtype: of the rounded vectors and of the coarse product.
    """
    info, size = torch.finfo(dtype), queries.shape[1]
    relative, absolute = info.eps / 2, info.smallest_normal * info.eps / 2
    norm = torch.linalg.vector_norm(queries, dim=1)
    of_query, of_other = (relative * part + size**0.5 * absolute for part in (norm, largest))
    inputs = norm * of_other + of_query * (largest + of_other)
    norms = (norm + of_query) * (largest + of_other)
    sums = size * 2.0**-21 * norms
    return 1.001 * (inputs + sums + relative * (norms + sums) + absolute)  # the norms and the bound are rounded too


@contextmanager
def full_sums() -> Iterator[None]:
    """Sum in float32 on a GPU within the block, and do not round float32 numbers to TensorFloat32.

    Whatever the program around it allows, which comes back at the end.
    """
    settings = torch.backends.cuda.matmul
    wanted = {
        "fp32_precision": "ieee",
        "allow_fp16_accumulation": False,
        "allow_fp16_reduced_precision_reduction": False,
        "allow_bf16_reduced_precision_reduction": False,
    }
    before = {name: getattr(settings, name) for name in wanted}
    try:
        for name, value in wanted.items():
            setattr(settings, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(settings, name, value)


def _group_maxima(queries: Tensor, others: Tensor) -> Tensor:
    """Return the largest coarse product of queries [Q, D] with each group of others [B, D] → [Q, B / GROUP]."""
    maxima = others.new_empty((len(others) // GROUP, len(queries)))
    for start in range(0, len(others), COLUMNS):
        products = _product(others[start : start + COLUMNS], queries).view(-1, GROUP, len(queries))
        torch.amax(products, dim=1, out=maxima[start // GROUP :][: len(products)])
    return maxima.T.contiguous()


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Return a @ bᵀ in the precision of both, summed in float32; a processor may not sum float16 numbers in it."""
    return (a.float() @ b.float().T).to(a.dtype) if a.device.type == "cpu" else a @ b.T


def _nearest(queries: Tensor, others: Tensor, groups: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return products in float32 and rows of the nearest others in some groups of each query, [Q, count] each."""
    parts = []
    step = max(1, FETCHED // (groups.shape[1] * GROUP * others.shape[1]))
    for some, of_some in zip(queries.split(step), groups.split(step), strict=True):
        members = (of_some[:, :, None] * GROUP + torch.arange(GROUP, device=groups.device)).flatten(1)
        fetched = others.index_select(0, members.flatten().clamp(max=len(others) - 1)).view(*members.shape, -1)
        products = (fetched @ some[:, :, None]).squeeze(2).masked_fill(members >= len(others), -torch.inf)
        cosine, place = products.topk(count, dim=1)
        parts.append((cosine, members.gather(1, place)))
    cosines, rows = zip(*parts, strict=True)
    return torch.cat(cosines), torch.cat(rows)

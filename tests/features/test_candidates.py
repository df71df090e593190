"""Nothing that was no candidate is nearer than the ceiling, and coarse products err by no more than the bound."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from clipn.features import candidates

DTYPES = [torch.float16, torch.bfloat16, torch.float32]


def unit(rows: int, size: int, seed: int) -> Tensor:
    vectors = torch.randn(rows, size, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(vectors, dim=1)


def halfway(size: int, dtype: torch.dtype) -> Tensor:
    """A vector of which rounding takes as much as it can take of each number: just below the middle of two."""
    return torch.full((1, size), 1 + torch.finfo(dtype).eps * 0.499)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_bound_holds(dtype: torch.dtype) -> None:
    one = halfway(512, dtype)
    queries = torch.cat([unit(40, 512, 0), one, 1e-4 * unit(3, 512, 2), torch.zeros(1, 512)])
    others = torch.cat([unit(60, 512, 1), one, -one, 1e-6 * unit(3, 512, 3)])
    exact = queries.double() @ others.double().T
    coarse = candidates._product(queries.to(dtype), others.to(dtype)).double()
    bound = candidates.error(queries, others.norm(dim=1).amax(), dtype)
    assert bool(((coarse - exact).abs() <= bound[:, None]).all())
    if dtype != torch.float32:  # whose products err by less than the sums may
        assert float((coarse - exact)[40].abs().max()) > bound[40] / 2


def test_the_bound_of_unit_vectors() -> None:
    bound = candidates.error(unit(1, 512, 0), torch.tensor(1.0), torch.float16)
    assert 0.0017 < float(bound) < 0.0018


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 5])
def test_nothing_else_exceeds_the_ceiling(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, count: int) -> None:
    monkeypatch.setattr(candidates, "MARGIN", 3)
    monkeypatch.setattr(candidates, "COLUMNS", 48)
    monkeypatch.setattr(candidates, "FETCHED", 1000)
    queries, others = unit(9, 12, 0), unit(203, 12, 1)
    found = candidates.search(queries, others, candidates.rounded(others, dtype), others.norm(dim=1).amax(), count)
    cosines = queries @ others.T
    expected = cosines.topk(count, dim=1)
    assert torch.equal(found.index[:, 0], expected.indices[:, 0])
    torch.testing.assert_close(found.cosine, cosines.gather(1, found.index))
    for query in range(9):
        first = set(found.index[query].tolist())
        others_of_it = [float(value) for row, value in enumerate(cosines[query]) if row not in first]
        if found.cosine[query, -1] > found.ceiling[query]:
            assert max(others_of_it) <= float(found.cosine[query, -1]) + 1e-6


def test_rows_that_fill_up_a_group_are_no_neighbours() -> None:
    others = -unit(1, 4, 0).expand(candidates.GROUP + 1, 4)
    coarse = candidates.rounded(others, torch.float16)
    assert coarse.shape == (2 * candidates.GROUP, 4)
    groups = torch.tensor([[1, 0]])
    cosine, index = candidates._nearest(unit(1, 4, 0), others, groups, len(others))
    assert sorted(index[0].tolist()) == list(range(len(others)))
    torch.testing.assert_close(cosine, -torch.ones(1, len(others)))


def test_settings_come_back() -> None:
    settings = torch.backends.cuda.matmul
    before = settings.fp32_precision
    settings.fp32_precision = "tf32"
    try:
        with candidates.full_sums():
            assert settings.fp32_precision == "ieee"
            assert not settings.allow_fp16_reduced_precision_reduction
        assert settings.fp32_precision == "tf32"
        assert settings.allow_fp16_reduced_precision_reduction
    finally:
        settings.fp32_precision = before

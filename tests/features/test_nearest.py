"""The nearest by blocks are those that a sort of all cosines gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clipn.features import candidates, nearest
from clipn.features.nearest import Matches, Nearest


def unit(rows: int, seed: int) -> NDArray[np.float32]:
    values = np.random.default_rng(seed).normal(size=(rows, 6)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def search(queries: NDArray[np.float32], blocks: list[NDArray[np.float32]], floor: float, count: int) -> Matches:
    found = Nearest(queries, floor, count, "cpu")
    for block in blocks:
        found.add(block)
    return found.matches()


@pytest.mark.parametrize("count", [1, 3, 200])
def test_blocks_give_what_a_sort_of_everything_gives(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(nearest, "QUERIES", 7)
    queries, others = unit(20, 0), unit(100, 1)
    cosines = queries @ others.T
    expected = [
        (query, other)
        for query in range(20)
        for other in np.argsort(-cosines[query], kind="stable")[:count]
        if cosines[query, other] >= 0.4
    ]
    found = search(queries, np.split(others, [3, 50, 51]), 0.4, count)
    assert len(expected) > 15
    assert list(zip(found.query, found.other, strict=True)) == expected
    np.testing.assert_allclose(found.cosine, [cosines[pair] for pair in expected], atol=1e-6)


def test_of_equal_cosines_the_first_is_kept() -> None:
    one = np.eye(2, dtype=np.float32)
    assert search(one[:1], [one[1:], one[:1], one[:1], one[:1]], 0.9, 2).other.tolist() == [1, 2]


def test_nothing_reaches_the_floor() -> None:
    found = search(np.eye(2, dtype=np.float32), [-np.eye(2, dtype=np.float32)], 0.5, 4)
    assert found.query.shape == found.other.shape == found.cosine.shape == (0,)


@pytest.mark.parametrize("count", [1, 4, 30])
def test_without_a_floor_every_query_has_its_nearest(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(nearest, "QUERIES", 3)
    queries, others = unit(8, 0), unit(25, 1)
    found = Nearest(queries, -np.inf, count, "cpu")
    for block in torch.from_numpy(others).split(6):
        found.add(block)
    cosine, other = found.ranked()
    expected = queries @ others.T
    kept = min(count, 25)
    assert cosine.shape == other.shape == (8, count)
    assert other[:, :kept].tolist() == np.argsort(-expected, axis=1)[:, :kept].tolist()
    np.testing.assert_allclose(cosine[:, :kept], -np.sort(-expected, axis=1)[:, :kept], atol=1e-6)
    assert np.isneginf(cosine[:, kept:]).all()
    assert len(found.matches().query) == 8 * kept


# By candidates, as on a GPU.

COARSE = [torch.float16, torch.bfloat16, torch.float32]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates from a few dozen others on."""
    monkeypatch.setattr(candidates, "GROUP", 4)
    monkeypatch.setattr(candidates, "MARGIN", 4)
    monkeypatch.setattr(candidates, "SHARE", 2)
    monkeypatch.setattr(nearest, "QUERIES", 7)
    monkeypatch.setattr(nearest, "OTHERS", 32)


def both(
    queries: NDArray[np.float32],
    blocks: list[NDArray[np.float32]],
    count: int,
    coarse: torch.dtype,
    floor: float = -np.inf,
) -> tuple[Nearest, Nearest]:
    """The search by candidates and the one in float32."""
    searches = Nearest(queries, floor, count, "cpu", coarse), Nearest(queries, floor, count, "cpu")
    for search in searches:
        for block in blocks:
            search.add(block)
    assert searches[1].repeated == 0
    assert searches[0].seen == searches[1].seen == sum(map(len, blocks))
    return searches


def assert_equal(one: Nearest, other: Nearest) -> None:
    np.testing.assert_allclose(one.ranked()[0], other.ranked()[0], atol=1e-6)
    assert one.ranked()[1].tolist() == other.ranked()[1].tolist()


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("coarse", COARSE)
@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("floor", [-np.inf, 0.9])
def test_candidates_give_the_nearest(coarse: torch.dtype, count: int, floor: float) -> None:
    blocks = np.split(unit(1000, 1), [301, 302, 701])
    searches = both(unit(30, 0), blocks, count, coarse, floor)
    assert_equal(*searches)
    assert searches[0].repeated < 45  # of thirty queries in three blocks


@pytest.mark.usefixtures("few")
def test_large_blocks_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "BLOCK", 90)
    assert_equal(*both(unit(30, 0), [unit(400, 1)], 3, torch.float16))


def around(direction: NDArray[np.float32], steps: NDArray[np.float64]) -> NDArray[np.float32]:
    """Unit vectors whose cosines to the first axis are .9 plus these steps."""
    cosine = 0.9 + steps
    rest = np.sqrt(1 - cosine**2)
    return np.concatenate([cosine[:, None], rest[:, None] * direction], axis=1).astype(np.float32)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("coarse", COARSE)
@pytest.mark.parametrize("step", [1e-3, 1e-4, 1e-5])
def test_nearly_equal_others_are_told_apart(coarse: torch.dtype, step: float) -> None:
    """By steps that the coarse precision cannot hold, and float32 can."""
    order = np.random.default_rng(3).permutation(200)
    others = around(unit(200, 4), step * (order - 100))
    queries = np.concatenate([np.eye(7, dtype=np.float32)[:1], np.pad(unit(3, 5), ((0, 0), (1, 0)))])
    searches = both(queries, [others], 6, coarse)
    assert searches[0].ranked()[1][0].tolist() == np.argsort(-order)[:6].tolist()
    np.testing.assert_allclose(searches[0].ranked()[0], searches[1].ranked()[0], atol=1e-6)
    if step < 1e-4 and coarse != torch.float32:
        assert searches[0].repeated > 0


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("coarse", COARSE)
def test_more_equal_others_than_candidates_are_compared_in_float32(coarse: torch.dtype) -> None:
    query, others = np.eye(6, dtype=np.float32)[:1], unit(200, 1)
    others[50:150] = query
    search, expected = both(query, [others, others], 3, coarse)
    assert search.repeated == 2
    assert_equal(search, expected)
    assert all(50 <= row < 150 for row in search.ranked()[1][0])  # of equal ones those of the earlier block


@pytest.mark.usefixtures("few")
def test_others_that_are_no_numbers_are_met_as_in_float32() -> None:
    others = unit(200, 1)
    others[[3, 120]] = np.nan
    queries = unit(10, 0)
    queries[4] = np.nan
    queries[5] = 0
    search, expected = both(queries, [others, unit(200, 2)], 3, torch.float16)
    np.testing.assert_array_equal(np.isneginf(search.ranked()[0]), np.isneginf(expected.ranked()[0]))
    finite = [row for row in range(10) if row != 5]  # all are equally near to zero
    assert search.ranked()[1][finite].tolist() == expected.ranked()[1][finite].tolist()


def test_small_blocks_need_no_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "search", None)
    assert_equal(*both(unit(8, 0), [unit(100, 1)], 3, torch.float16))


def test_a_cpu_compares_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "SHARE", 0)
    monkeypatch.setattr(candidates, "search", None)
    search(unit(8, 0), [unit(100, 1)], -np.inf, 3)

"""The nearest by blocks are those that a sort of all cosines gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clipn.features import nearest
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

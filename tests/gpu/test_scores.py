"""Neighbours and scores of a GPU are those of the CPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from clipn import scores
from clipn.features.nearest import Nearest
from tests.scores.test_registry import EVIDENCE, IMAGES
from tests.training_data import unit

COUNT = 5


def test_neighbours_are_the_same(device: torch.device) -> None:
    rng = np.random.default_rng(0)
    queries, others = unit(rng, 100, 64), unit(rng, 3000, 64)
    nearest = np.sort(queries.astype(np.float64) @ others.T.astype(np.float64), axis=1)[:, ::-1][:, : COUNT + 1]
    assert -np.diff(nearest).max() > 1e-6  # no two are so near one another that rounding could swap them
    ranked = []
    for place in ("cpu", device):
        search = Nearest(queries, -np.inf, COUNT, place)
        for block in np.split(others, [1000, 1001]):
            search.add(block)
        ranked.append(search.ranked())
    (of_cpu, expected), (cosines, numbers) = ranked
    np.testing.assert_array_equal(numbers, expected)
    np.testing.assert_allclose(cosines, of_cpu, atol=1e-6)


@pytest.mark.parametrize("name", scores.REGISTRY)
def test_every_score_is_the_same(name: str, device: torch.device) -> None:
    features = scores.features_of(IMAGES, scores.named(name).takes)
    expected, values = (
        scores.fit(name, replace(EVIDENCE, device=place)).score(features) for place in ("cpu", str(device))
    )
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())

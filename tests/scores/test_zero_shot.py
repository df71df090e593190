"""The baselines against hand-made cases and the reference's scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
from safetensors.numpy import load_file

from clipn import scores
from clipn.scores import Evidence
from tests.conftest import ROOT

GOLDEN = ROOT / "tests/golden/scores.safetensors"
YES = np.eye(2, dtype=np.float32)
IMAGES = np.array([[1, 0], [0.6, 0.8]], dtype=np.float32)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MSP", [1 / (1 + math.exp(-10)), 1 / (1 + math.exp(-2))]),
        ("MCM", [1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-0.2))]),
        ("MaxLogit", [10, 8]),
        ("Energy", [math.log(math.exp(10) + 1), math.log(math.exp(6) + math.exp(8))]),
    ],
)
def test_by_hand(name: str, expected: list[float]) -> None:
    score = scores.fit(name, Evidence(YES, logit_scale=10.0))
    np.testing.assert_allclose(score.score(IMAGES), expected, rtol=1e-6)


@pytest.mark.parametrize(("name", "golden"), [("MSP", "msp"), ("MaxLogit", "max_logit"), ("Energy", "energy")])
def test_matches_the_reference(name: str, golden: str) -> None:
    data = load_file(GOLDEN)
    score = scores.fit(name, Evidence(data["yes"], data["no"], 100.0))
    for side in ("id", "ood"):
        np.testing.assert_allclose(
            score.score(data[f"{side}_features"]), data[f"{side}_{golden}"], rtol=1e-5, atol=1e-5
        )

"""A case by hand for scores of class names, and the numbers of the reference implementation."""

from __future__ import annotations

import numpy as np
from safetensors.numpy import load_file

from clipn import scores
from clipn.scores import Evidence
from tests.conftest import ROOT

GOLDEN = ROOT / "tests/golden/scores.safetensors"
IMAGES = np.array([[1, 0], [0.6, 0.8]], dtype=np.float32)
EVIDENCE = Evidence(np.eye(2, dtype=np.float32), logit_scale=10.0)


def check_reference(name: str, golden: str) -> None:
    """Compare the score `name` with the reference's numbers of this name."""
    data = load_file(GOLDEN)
    score = scores.fit(name, Evidence(data["yes"], data["no"], 100.0))
    for side in ("id", "ood"):
        np.testing.assert_allclose(
            score.score(data[f"{side}_features"]), data[f"{side}_{golden}"], rtol=1e-5, atol=1e-5
        )

"""Maximum concept matching against a case by hand."""

from __future__ import annotations

import math

import numpy as np

from clipn.scores import MCM
from tests.scores.zero_shot import EVIDENCE, IMAGES


def test_by_hand() -> None:
    expected = [1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-0.2))]
    np.testing.assert_allclose(MCM().fit(EVIDENCE).score(IMAGES), expected, rtol=1e-6)

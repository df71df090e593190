"""Maximum softmax probability against a case by hand and the reference."""

from __future__ import annotations

import math

import numpy as np

from clipn.scores import MSP
from tests.scores.zero_shot import EVIDENCE, IMAGES, check_reference


def test_by_hand() -> None:
    expected = [1 / (1 + math.exp(-10)), 1 / (1 + math.exp(-2))]
    np.testing.assert_allclose(MSP().fit(EVIDENCE).score(IMAGES), expected, rtol=1e-6)


def test_matches_the_reference() -> None:
    check_reference("MSP", "msp")

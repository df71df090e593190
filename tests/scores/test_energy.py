"""The free energy against a case by hand and the reference."""

from __future__ import annotations

import math

import numpy as np

from clipn.scores import Energy
from tests.scores.zero_shot import EVIDENCE, IMAGES, check_reference


def test_by_hand() -> None:
    expected = [math.log(math.exp(10) + 1), math.log(math.exp(6) + math.exp(8))]
    np.testing.assert_allclose(Energy().fit(EVIDENCE).score(IMAGES), expected, rtol=1e-6)


def test_matches_the_reference() -> None:
    check_reference("Energy", "energy")

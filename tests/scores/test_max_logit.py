"""The largest logit against a case by hand and the reference."""

from __future__ import annotations

import numpy as np

from clipn.scores import MaxLogit
from tests.scores.zero_shot import EVIDENCE, IMAGES, check_reference


def test_by_hand() -> None:
    expected = [10, 8]
    np.testing.assert_allclose(MaxLogit().fit(EVIDENCE).score(IMAGES), expected, rtol=1e-6)


def test_matches_the_reference() -> None:
    check_reference("MaxLogit", "max_logit")

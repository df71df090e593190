"""GL-MCM against cases made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from clipn.scores import gl_mcm
from clipn.scores.base import Evidence
from clipn.scores.gl_mcm import GLMCM
from tests.training_data import unit

YES = np.eye(2, dtype=np.float32)


def sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def test_by_hand() -> None:
    images = np.array(
        [
            [[1, 0], [0.6, 0.8], [0.8, 0.6]],  # the whole is sure of class 0, the patches differ by 0.2
            [[0.6, 0.8], [0, 1], [1, 0]],  # both patches are as sure as can be, of different classes
        ],
        np.float32,
    )
    expected = [sigmoid(1) + sigmoid(0.2), sigmoid(0.2) + sigmoid(1)]
    np.testing.assert_allclose(GLMCM().fit(Evidence(YES)).score(images), expected, rtol=1e-6)
    expected = [sigmoid(4) + 0.5 * sigmoid(0.8), sigmoid(0.8) + 0.5 * sigmoid(4)]
    score = GLMCM(temperature=0.25, weight=0.5).fit(Evidence(YES))
    np.testing.assert_allclose(score.score(images), expected, rtol=1e-6)


def test_the_scale_of_the_evidence_plays_no_part() -> None:
    images = unit(np.random.default_rng(0), 3, 5, 2)
    found = [GLMCM().fit(Evidence(YES, logit_scale=scale)).score(images) for scale in (1.0, 100.0)]
    assert np.array_equal(*found)


@pytest.mark.parametrize("numbers", [1, 2**23])
def test_a_loop_over_the_formula_gives_the_same(numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gl_mcm, "COSINES", numbers)
    rng = np.random.default_rng(1)
    yes, images = unit(rng, 7, 12), unit(rng, 5, 10, 12)
    expected = []
    for image in images:
        probability = softmax(image @ yes.T, axis=1)
        expected.append(probability[0].max() + probability[1:].max())
    found = GLMCM().fit(Evidence(yes)).score(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)

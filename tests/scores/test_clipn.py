"""CTW and ATD against hand-made cases and the reference's scores."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.special import expit, softmax

from clipn import scores
from clipn.errors import InvalidParams
from clipn.scores import ATD, CTW, Evidence
from tests.conftest import ROOT

GOLDEN = ROOT / "tests/golden/scores.safetensors"
YES = np.eye(2, dtype=np.float32)
NO = np.array([[-1, 0], [0, 1]], dtype=np.float32)  # the first class says no well, the second never does
IMAGES = np.array([[1, 0], [0, 1], [-1, 0]], dtype=np.float32)


def test_ctw_by_hand() -> None:
    score = CTW().fit(Evidence(YES, NO, logit_scale=3.0))
    # Differences no - yes at the winner: -2·3 for the first image, 0 for the second, whose yes and no
    # are equal, and 0 for the third, which the second class wins with cosine 0.
    np.testing.assert_allclose(score.score(IMAGES), [1 - expit(-6), 0.5, 0.5], rtol=1e-6)
    assert score.keeps(IMAGES).tolist() == [True, True, True]


def test_atd_by_hand() -> None:
    score = ATD().fit(Evidence(YES, NO, logit_scale=3.0))
    p = softmax(np.array([[3, 0], [0, 3], [-3, 0]]), axis=1)
    no = expit(np.array([[-6, 0], [0, 0], [6, 0]]))
    expected = ((1 - no) * p).sum(axis=1)
    np.testing.assert_allclose(score.score(IMAGES), expected, rtol=1e-6)
    assert score.keeps(IMAGES).tolist() == ((1 - expected) <= p.max(axis=1)).tolist()


def test_a_learned_scale_counts_only_between_yes_and_no() -> None:
    score = ATD().fit(Evidence(YES, NO, logit_scale=3.0, no_logit_scale=5.0))
    p = softmax(np.array([[3, 0], [0, 3], [-3, 0]]), axis=1)
    no = expit(np.array([[-10, 0], [0, 0], [10, 0]]))
    np.testing.assert_allclose(score.score(IMAGES), ((1 - no) * p).sum(axis=1), rtol=1e-6)


@pytest.mark.parametrize(("name", "golden"), [("CLIPN-CTW", "ctw"), ("CLIPN-ATD", "atd")])
def test_matches_the_reference(name: str, golden: str) -> None:
    data = load_file(GOLDEN)
    score = scores.fit(name, Evidence(data["yes"], data["no"], 100.0))
    for side in ("id", "ood"):
        np.testing.assert_allclose(
            score.score(data[f"{side}_features"]), data[f"{side}_{golden}"], rtol=1e-5, atol=1e-7
        )


def test_without_a_no_encoder_the_message_says_what_is_missing() -> None:
    with pytest.raises(InvalidParams, match='CLIPN-CTW needs a trained "No" text encoder'):
        scores.fit("CLIPN-CTW", Evidence(YES))


def test_unknown_method_lists_the_known() -> None:
    with pytest.raises(
        InvalidParams, match=r"unknown method 'Magic'.*MSP, MCM, MaxLogit, Energy, .*CLIPN-CTW, CLIPN-ATD"
    ):
        scores.fit("Magic", Evidence(YES))

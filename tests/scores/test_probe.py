"""Scores of the probe: what they are computed from, and that it is trained once."""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from clipn.errors import InvalidData
from clipn.scores import Classifies, linear_probe, probe
from clipn.scores.probe import OnProbe, ProbeEnergy, ProbeMSP
from tests.scores.id_images import DEGENERATE, FEATURES, IMAGES, LABELS, degenerate, evidence


def test_scores_of_the_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_probe, "MIN_STEPS", 600)
    known = evidence()
    logits = linear_probe.train(FEATURES, LABELS, 3).logits(IMAGES)
    np.testing.assert_allclose(ProbeMSP().fit(known).score(IMAGES), softmax(logits, axis=1).max(axis=1), rtol=1e-6)
    np.testing.assert_allclose(ProbeEnergy().fit(known).score(IMAGES), logsumexp(logits, axis=1), rtol=1e-6)
    score = ProbeMSP().fit(known)
    assert isinstance(score, Classifies)
    assert score.predict(IMAGES).tolist() == logits.argmax(axis=1).tolist()
    assert (score.predict(FEATURES) == LABELS).mean() > 0.7


@pytest.mark.usefixtures("short_training")
def test_one_training_for_all_scores_of_the_same_evidence() -> None:
    known = evidence()
    first = ProbeMSP().fit(known).probe
    assert ProbeEnergy().fit(known).probe is first
    assert ProbeMSP().fit(replace(known)).probe is not first


@pytest.mark.usefixtures("short_training")
def test_a_probe_goes_with_its_evidence() -> None:
    known = evidence()
    probe.probe_of(known)
    held = len(probe._TRAINED)
    del known
    gc.collect()
    assert len(probe._TRAINED) < held


@pytest.mark.usefixtures("short_training")
def test_classes_are_those_that_have_names() -> None:
    five = np.eye(5, 6, dtype=np.float32)
    assert probe.probe_of(evidence(yes=five)).weight.shape == (5, 6)
    assert probe.probe_of(evidence()).weight.shape == (3, 6)
    with pytest.raises(InvalidData, match="has class 2, but there are 2 classes"):
        probe.probe_of(evidence(yes=five[:2]))


@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.parametrize("make", [ProbeMSP, ProbeEnergy])
def test_finite(make: type[OnProbe], case: str) -> None:
    assert np.isfinite(make().fit(degenerate(case)).score(IMAGES)).all()
